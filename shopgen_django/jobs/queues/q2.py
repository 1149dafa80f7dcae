"""Rings through django-q2. The only module of the package that imports it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.db import router

from shopgen_django.jobs.queue import BaseQueue

RING = "shopgen_django.jobs.entrypoints.ring"


class Q2Queue(BaseQueue):
    """``OPTIONS``: ``CPU`` and ``GPU`` name the clusters ("default": the one of ``Q_CLUSTER`` itself).

    With the ORM broker in the database of our own rows, a ring is part of the transaction that queues the job.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        from django_q.exceptions import TimeoutException

        self.supports_transactional_enqueue = self._orm_alias() == _jobs_database()
        self.timeout_exceptions = (TimeoutException,)

    def notify(self, job_id: str, *, queue: str, hard_timeout: int) -> None:
        from django_q.tasks import async_task

        async_task(
            RING, str(job_id), cluster=self.cluster(queue), ack_failure=True, save=False, timeout=int(hard_timeout)
        )

    def cluster(self, queue: str) -> str:
        """Name of the cluster that serves ``queue`` ("cpu" or "gpu")."""
        name = self.options.get(queue.upper(), "default")
        conf = getattr(settings, "Q_CLUSTER", None) or {}
        if name == "default":
            name = conf.get("cluster_name") or conf.get("name") or "default"
        return str(name)

    def pending(self, queue: str) -> int | None:
        from django_q.brokers import get_broker

        return get_broker(self.cluster(queue)).queue_size()

    def worker_environment(self, queue: str) -> dict[str, str]:
        return {"Q_CLUSTER_NAME": self.cluster(queue)}

    def worker_count(self, queue: str) -> int:
        conf = getattr(settings, "Q_CLUSTER", None) or {}
        own = (conf.get("ALT_CLUSTERS") or {}).get(self.cluster(queue)) or {}
        return int(own.get("workers") or conf.get("workers") or 1)

    def serve(self, queue: str) -> None:
        """Run the cluster of ``queue`` in this process until it is stopped (its name is read from the environment)."""
        from django_q.cluster import Cluster

        # Returns once the sentinel runs; the interpreter then waits for it, and SIGTERM stops both in good order.
        Cluster().start()

    def check(self) -> list[CheckMessage]:
        from .q2_checks import check_q2

        return check_q2(self)

    def _orm_alias(self) -> str | None:
        conf = getattr(settings, "Q_CLUSTER", None) or {}
        return conf.get("orm")


def _jobs_database() -> str:
    from shopgen_django.models import Job

    return router.db_for_write(Job)
