"""How a worker is told that a job waits. The message carries the job's id and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from shopgen_django.conf import app_settings


class BaseQueue(ABC):
    """A doorbell. Ringing twice, late or in vain does no harm; the job row decides what happens."""

    supports_transactional_enqueue: ClassVar[bool] = False
    """Whether a ring inside a transaction is undone with it (the message lies in the same database)."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    @abstractmethod
    def notify(self, job_id: str, *, queue: str, hard_timeout: int) -> None:
        """Ring for ``job_id`` on the cluster that serves ``queue`` ("cpu" or "gpu").

        ``hard_timeout`` in seconds is when the queue may kill a worker that hangs in this job.
        """

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
