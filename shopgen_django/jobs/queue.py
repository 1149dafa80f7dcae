"""How a worker is told that a job waits. The message carries the job's id and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from shopgen_django.conf import app_settings

BURST_SECONDS = 2
"""A ring goes on claiming jobs for so long: many short jobs then need no round through the queue each."""
QUEUE_VARIABLE = "SHOPGEN_QUEUE"
"""Set for supervised workers: the queue that they serve."""


class BaseQueue(ABC):
    """A doorbell. Ringing twice, late or in vain does no harm; the job row decides what happens."""

    supports_transactional_enqueue: bool = False
    """Whether a ring inside a transaction is undone with it (the message lies in the same database)."""
    timeout_exceptions: tuple[type[BaseException], ...] = ()
    """What this queue raises in a job that runs longer than its ``hard_timeout``."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    @abstractmethod
    def notify(self, job_id: str, *, queue: str, hard_timeout: int) -> None:
        """Ring for ``job_id`` on the cluster that serves ``queue`` ("cpu" or "gpu").

        ``hard_timeout`` in seconds is when the queue may kill a worker that hangs in this job.
        """

    def limit_job(self, seconds: int) -> None:
        """Called in the worker before each job: interrupt it after ``seconds`` with a ``timeout_exceptions``."""
        return None

    def pending(self, queue: str) -> int | None:
        """Rings that wait for a worker of ``queue``; None when this queue can't tell."""
        return None

    def drop_surplus(self, queue: str) -> int:
        """Remove waiting rings of ``queue`` that have nothing to ring for (no job is ready any more); how many.

        Only a saving: each would find nothing to do.
        """
        return 0

    def set_aside_unreadable(self) -> int:
        """Take messages that can't be decoded out of the queue (they are kept, see UnreadableMessage); how many."""
        return 0

    def put_back(self) -> int:
        """Queue the messages again that were set aside and can be decoded by now; how many."""
        return 0

    def worker_environment(self, queue: str) -> dict[str, str]:
        """Environment variables that a worker process of ``queue`` needs before Django is loaded."""
        return {}

    def worker_count(self, queue: str) -> int:
        """How many jobs one worker group of ``queue`` runs at a time."""
        return 1

    def serve(self, queue: str) -> None:
        """Be the worker group of ``queue`` until stopped (``shopgen_worker`` starts a process for it).

        Raises NotImplementedError when this queue has no workers of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no workers to run.")

    def check(self) -> list[CheckMessage]:
        """System-check messages about this queue's settings."""
        return []


_queue: BaseQueue | None = None


def get_queue() -> BaseQueue:
    """The queue of ``SHOPGEN["QUEUE"]``."""
    global _queue
    if _queue is None:
        entry = app_settings.QUEUE
        _queue = import_string(entry["BACKEND"])(**entry.get("OPTIONS", {}))
    return _queue


def _on_setting_changed(*, setting: str, **kwargs: object) -> None:
    global _queue
    if setting in {"SHOPGEN", "Q_CLUSTER"}:
        _queue = None


setting_changed.connect(_on_setting_changed, dispatch_uid="shopgen.queue.reset")
