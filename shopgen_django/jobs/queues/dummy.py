"""A queue that only remembers its rings (tests, and shops that run jobs by a command of their own)."""

from __future__ import annotations

from typing import Any, ClassVar

from shopgen_django.jobs.queue import BaseQueue


class DummyQueue(BaseQueue):
    rings: ClassVar[list[tuple[str, str]]] = []
    """(job id, queue) of every ring of this process."""

    supports_transactional_enqueue = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def notify(self, job_id: str, *, queue: str, hard_timeout: int) -> None:
        self.rings.append((job_id, queue))
