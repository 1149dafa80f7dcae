"""Rings through django-q2. The only module of the package that imports it."""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.db import router, transaction

from shopgen_django.jobs.queue import BURST_SECONDS, QUEUE_VARIABLE, BaseQueue
from shopgen_django.jobs.rings import longest_job
from shopgen_django.models import Job, UnreadableMessage

logger = logging.getLogger(__name__)

RING = "shopgen_django.jobs.entrypoints.ring"
SURPLUS_AT_ONCE = 500


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

        # The worker takes the best job, not necessarily this one, and maybe some short ones: the message's own limit
        # has room for any of them; each job's limit is set by limit_job().
        limit = max(int(hard_timeout), longest_job()) + BURST_SECONDS
        async_task(RING, str(job_id), cluster=self.cluster(queue), ack_failure=True, save=False, timeout=limit)

    def limit_job(self, seconds: int) -> None:
        """Set the alarm that django-q2 has set for the whole message anew, for this job."""
        if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
            return
        if callable(signal.getsignal(signal.SIGALRM)):
            signal.alarm(int(seconds))

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

    def drop_surplus(self, queue: str) -> int:
        """First the messages are read, then it is made sure that no job is ready, then exactly these messages go.

        A job that is queued meanwhile has a newer message, which was not read; so none loses its ring.
        """
        if not self.supports_transactional_enqueue:
            return 0
        from django.utils import timezone
        from django_q.models import OrmQ

        waiting = OrmQ.objects.using(self._orm_alias()).filter(key=self.cluster(queue), lock__lte=timezone.now())
        rings = [pk for pk, payload in waiting.values_list("pk", "payload")[:SURPLUS_AT_ONCE] if _is_ring(payload)]
        if not rings or Job.objects.ready(queue).exists():
            return 0
        # Without the collector's SELECT: nothing hangs on these rows.
        return int(OrmQ.objects.using(self._orm_alias()).filter(pk__in=rings)._raw_delete(self._orm_alias()))

    def set_aside_unreadable(self) -> int:
        """Only messages that were fetched already are looked at: fetching such a one kills django-q2's pusher.

        When one is found, all that wait are looked at, so that each does not need to kill it once.
        """
        if not self._orm_alias():
            return 0
        from django.utils import timezone
        from django_q.models import OrmQ

        rows = OrmQ.objects.using(self._orm_alias())
        removed = sum(self._set_aside(row) for row in rows.filter(lock__gt=timezone.now()).iterator())
        if removed:
            removed += sum(self._set_aside(row) for row in rows.all().iterator())
        return removed

    def _set_aside(self, row: Any) -> int:
        error = _decoding_error(row.payload)
        if not error:
            return 0
        with transaction.atomic(using=self._orm_alias()):
            deleted, _rows = type(row).objects.using(self._orm_alias()).filter(pk=row.pk).delete()
            if not deleted:
                return 0
            UnreadableMessage.objects.create(
                queue_name=row.key, payload=row.payload, error=error,
                payload_sha256=hashlib.sha256(row.payload.encode()).hexdigest(),
            )
        logger.error("A message of queue %s can't be read and was set aside: %s", row.key, error)
        return 1

    def put_back(self) -> int:
        if not self._orm_alias():
            return 0
        from django.utils import timezone
        from django_q.models import OrmQ

        done = 0
        for message in UnreadableMessage.objects.filter(put_back_at__isnull=True):
            if _decoding_error(message.payload):
                continue
            with transaction.atomic():
                mine = UnreadableMessage.objects.filter(pk=message.pk, put_back_at__isnull=True)
                if mine.update(put_back_at=timezone.now()):
                    OrmQ.objects.using(self._orm_alias()).create(
                        key=message.queue_name, payload=message.payload, lock=timezone.now()
                    )
                    done += 1
        return done

    def worker_environment(self, queue: str) -> dict[str, str]:
        environment = {"Q_CLUSTER_NAME": self.cluster(queue)}
        if self.cluster("cpu") != self.cluster("gpu"):
            environment[QUEUE_VARIABLE] = queue
        return environment

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


def _is_ring(payload: str) -> bool:
    """Whether a message is one of ours (a shop's own tasks may share the queue)."""
    from django_q.signing import SignedPackage

    try:
        return bool(SignedPackage.loads(payload)["func"] == RING)
    except Exception:
        # Unreadable or foreign: not ours to remove here.
        return False


def _decoding_error(payload: str) -> str:
    """Why django-q2's pusher would die of this payload; "" when it can be read.

    A wrong signature or type is not meant: these the pusher throws away by itself.
    """
    from django_q.signing import BadSignature, SignedPackage

    try:
        SignedPackage.loads(payload)
    except (TypeError, BadSignature):
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return ""


def _jobs_database() -> str:
    return router.db_for_write(Job)
