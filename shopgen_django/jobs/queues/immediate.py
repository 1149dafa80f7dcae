"""A queue that runs each job at once in the process that queued it, after its transaction has committed.

For tests and for trying things out without a worker. Never in a shop's web process: the work would run inside the
request and load the models there.
"""

from __future__ import annotations

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004

from shopgen_django.jobs.queue import BaseQueue


class ImmediateQueue(BaseQueue):
    """Jobs that fail and are to be tried again wait for ``manage.py shopgen_sweep``."""

    def notify(self, job_id: str, *, queue: str, hard_timeout: int) -> None:
        from shopgen_django.jobs.entrypoints import ring

        ring(job_id)

    def check(self) -> list[CheckMessage]:
        if settings.DEBUG:
            return []
        return [
            Warning(
                "Jobs run inside the web request (ImmediateQueue).",
                hint='Set SHOPGEN["QUEUE"]["BACKEND"] to "shopgen_django.jobs.queues.q2.Q2Queue" and run '
                "manage.py shopgen_worker; ImmediateQueue is for tests and trials.",
                id="shopgen.W020",
            )
        ]
