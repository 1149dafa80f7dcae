"""Who may work on a job: every change of a running job is one UPDATE that names the attempt it belongs to.

``attempt`` is counted when a worker claims, so that a worker that dies has used one, and it is the fencing token:
an UPDATE that names another attempt than the row's changes nothing. All times are the database's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.models import Job, JobState

from .statements import claim_best, claimed, succeed
from .usage import record_time

CANDIDATES = 3
POISON_LOSSES = 3
"""So many lost leases in a row without any progress: the job itself kills or hangs its workers, and is given up however
many attempts it has left. Fewer would condemn innocent jobs on a machine that dies twice."""


class Beat(Enum):
    """What a worker learns when it renews its lease."""

    HELD = "held"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on ``job`` until somebody else claims it."""

    job: Job
    token: int
    worker: str
    started: datetime = field(default_factory=timezone.now)

    def rows(self) -> QuerySet[Job]:
        """The job's row as long as this lease holds; otherwise nothing."""
        return Job.objects.filter(pk=self.job.pk, state=JobState.RUNNING, attempt=self.token)

    def history(self, outcome: str, code: str = "", detail: str = "") -> list[dict[str, Any]]:
        """The job's history with this attempt's outcome appended."""
        return [
            *self.job.history,
            entry(
                attempt=self.token, worker=self.worker, started=self.started, outcome=outcome, code=code, detail=detail
            ),
        ]


def entry(
    *, attempt: int, worker: str, started: datetime | None, outcome: str, code: str = "", detail: str = ""
) -> dict[str, Any]:
    """One line of ``Job.history``. ``outcome``: succeeded, failed, retried, lost, released or cancelled."""
    return {
        "attempt": attempt,
        "worker": worker,
        "started": started.isoformat() if started else None,
        "ended": timezone.now().isoformat(),
        "outcome": outcome,
        "code": code,
        "detail": detail[:2000],
    }


def lease_end() -> Combinable:
    """When a lease that is taken or renewed now runs out."""
    return Now() + timedelta(seconds=_lease_seconds())


def _lease_seconds() -> float:
    return float(app_settings.JOBS["LEASE_SECONDS"])


def claim(*, worker: str, queue: str) -> Lease | None:
    """Take the best ready job of ``queue``; None when none is ready.

    Best is the highest priority, then the longest wait. One statement on PostgreSQL and SQLite.
    """
    database = connections[router.db_for_write(Job)]
    if _can_return(database):
        job = claim_best(database.alias, queue=queue, worker=worker, lease_seconds=_lease_seconds())
        return Lease(job=job, token=job.attempt, worker=worker) if job is not None else None
    return _claim_in_steps(worker=worker, queue=queue)


def _can_return(database: BaseDatabaseWrapper) -> bool:
    """Whether an UPDATE can say which row it changed (SQLite from 3.35)."""
    if database.vendor == "sqlite":
        return bool(database.features.can_return_rows_from_bulk_insert)
    return database.vendor == "postgresql"


def _claim_in_steps(*, worker: str, queue: str) -> Lease | None:
    """The same for other databases: look, then take what was seen if it is still so."""
    while candidates := list(Job.objects.ready(queue)[:CANDIDATES]):
        for job in candidates:
            if _take(job, worker):
                return Lease(job=job, token=job.attempt, worker=worker)
    return None


def _take(job: Job, worker: str) -> bool:
    """Claim exactly this job in the state in which it was read."""
    taken = Job.objects.filter(
        pk=job.pk, state=JobState.QUEUED, attempt=job.attempt, not_before__lte=Now(),
        cancel_requested_at__isnull=True, attempt__lt=F("max_attempts"),
    ).update(attempt=job.attempt + 1, worker=worker, **claimed(_lease_seconds()))
    if taken:
        job.state, job.attempt, job.worker = JobState.RUNNING, job.attempt + 1, worker
        job.progress, job.stage = 0.0, ""
    return bool(taken)


def beat(lease: Lease, *, progress: float | None = None, stage: str | None = None) -> Beat:
    """Renew the lease, write progress down, and learn whether to go on. One UPDATE while all is well."""
    values: dict[str, Any] = {"lease_until": lease_end(), "heartbeat_at": Now(), "updated_at": Now()}
    if progress is not None:
        values["progress"] = min(1.0, max(0.0, progress))
    if stage is not None:
        values["stage"] = stage[:64]
    if lease.rows().filter(cancel_requested_at__isnull=True).update(**values):
        return Beat.HELD
    return Beat.CANCELLED if lease.rows().exists() else Beat.LOST


def finish(lease: Lease, **measured: Any) -> bool:
    """Mark the job as succeeded; call it first in the transaction that writes the results.

    ``measured``: further columns, as plain values. False: the lease is lost or the job was cancelled, and nothing may
    be written.
    """
    values = {"history": lease.history("succeeded"), **measured}
    return succeed(router.db_for_write(Job), lease.job, token=lease.token, values=values)


def has_won(lease: Lease) -> bool:
    """Whether this very attempt is recorded as the one that succeeded (a commit whose answer got lost)."""
    return Job.objects.filter(pk=lease.job.pk, state=JobState.SUCCEEDED, attempt=lease.token).exists()


def fail_or_requeue(lease: Lease, *, code: str, detail: str, permanent: bool = False, **measured: Any) -> str:
    """Record a failed attempt: back to the queue after a pause, or failed when it is final or the last one.

    Returns "requeued" or "failed"; "cancelled" when somebody had asked for that; "" when the lease was lost before.
    """
    mine = lease.rows().filter(cancel_requested_at__isnull=True)
    if permanent or lease.token >= lease.job.max_attempts:
        outcome, changed = "failed", mine.update(
            state=JobState.FAILED, lease_until=None, finished_at=Now(), updated_at=Now(), stage="",
            error_code=code[:64], error_detail=detail, history=lease.history("failed", code, detail), **measured,
        )
    else:
        outcome, changed = "requeued", mine.update(
            state=JobState.QUEUED, lease_until=None, not_before=Now() + timedelta(seconds=backoff(lease.token)),
            rung_at=None, updated_at=Now(), stage="", worker="", lost_leases=0,
            error_code=code[:64], error_detail=detail, history=lease.history("retried", code, detail), **measured,
        )
    return outcome if changed else _cancelled_or_lost(lease)


def _cancelled_or_lost(lease: Lease) -> str:
    """A job that somebody wants to cancel never goes back to the queue: nobody would ever take it."""
    return "cancelled" if cancelled(lease) else ""


def cancelled(lease: Lease) -> bool:
    """Record that the work stopped because somebody cancelled the job. False: the lease was lost before."""
    return bool(
        lease.rows().update(
            state=JobState.CANCELLED, lease_until=None, finished_at=Now(), updated_at=Now(), stage="",
            error_code="cancelled", history=lease.history("cancelled"),
        )
    )


def release(lease: Lease, *, detail: str = "") -> str:
    """Give the job back because the worker stops; the attempt does not count against the limit.

    The number itself stays used (it is the fencing token), so the limit moves up by one instead. Returns "released";
    "cancelled" when somebody had asked for that; "" when the lease was lost before.
    """
    changed = lease.rows().filter(cancel_requested_at__isnull=True).update(
        state=JobState.QUEUED, lease_until=None, not_before=Now(), rung_at=None, updated_at=Now(), worker="",
        progress=0.0, stage="", max_attempts=F("max_attempts") + 1,
        history=lease.history("released", "worker_draining", detail),
    )
    return "released" if changed else _cancelled_or_lost(lease)


def backoff(attempt: int) -> float:
    """Seconds to wait after the ``attempt``-th attempt (1, 2, ...): doubling, bounded, +-10 % so that jobs spread."""
    jobs = app_settings.JOBS
    seconds = min(float(jobs["BACKOFF_MAX_SECONDS"]), float(jobs["BACKOFF_SECONDS"]) * 2.0 ** (min(attempt, 32) - 1))
    return seconds * random.uniform(0.9, 1.1)


def take_from_worker(job: Job, *, expired: bool = False, innocent: bool = False, reason: str = "") -> str:
    """Take a running job from a worker that is dead, hangs or was killed by its supervisor.

    ``job`` is the row as it was read; nothing happens when it has moved since. ``expired``: only while its lease has
    run out. ``innocent``: the job had no part in it (the supervisor stopped the worker), so the attempt does not count.

    Returns what became of the job: "requeued", "failed", "cancelled", or "" when somebody else was faster.
    """
    rows = Job.objects.filter(pk=job.pk, state=JobState.RUNNING, attempt=job.attempt, worker=job.worker)
    if expired:
        rows = rows.filter(lease_until__lt=Now())
    if job.cancel_requested_at is None:
        # Somebody may have asked since; then the next sweep sees it and cancels.
        rows = rows.filter(cancel_requested_at__isnull=True)
    losses = 0 if innocent or job.progress > 0 else job.lost_leases + 1
    detail = reason or _lost_text(job)
    gone: dict[str, Any] = {"lease_until": None, "updated_at": Now(), "stage": "", "lost_leases": losses}
    if job.cancel_requested_at is not None:
        outcome, gone = "cancelled", gone | {
            "state": JobState.CANCELLED, "finished_at": Now(), "error_code": "cancelled",
        }
    elif innocent:
        outcome, gone = "requeued", gone | {
            "state": JobState.QUEUED, "not_before": Now(), "rung_at": None, "worker": "", "progress": 0.0,
            "max_attempts": F("max_attempts") + 1,
        }
    elif losses >= POISON_LOSSES or job.attempt >= job.max_attempts:
        outcome, gone = "failed", gone | {
            "state": JobState.FAILED, "finished_at": Now(), "error_code": "worker_lost", "error_detail": detail,
        }
    else:
        # At once: most losses are not the job's fault, and what is poison fails at its second loss.
        outcome, gone = "requeued", gone | {
            "state": JobState.QUEUED, "not_before": Now(), "rung_at": None, "worker": "", "progress": 0.0,
            "error_code": "worker_lost", "error_detail": detail,
        }
    named = {"requeued": "released" if innocent else "lost", "failed": "lost", "cancelled": "cancelled"}[outcome]
    gone["history"] = [
        *job.history,
        entry(
            attempt=job.attempt, worker=job.worker, started=job.started_at, outcome=named,
            code="worker_draining" if innocent else "worker_lost", detail=detail,
        ),
    ]
    if not rows.update(**gone):
        return ""
    if job.started_at is not None and job.heartbeat_at is not None:
        record_time(job, job.attempt, (job.heartbeat_at - job.started_at).total_seconds())
    return outcome


def _lost_text(job: Job) -> str:
    return _(
        "Attempt %(attempt)d of %(allowed)d ended without a word: its worker died, was killed (out of memory is the "
        "usual reason) or made no progress for %(seconds)d seconds (last at %(progress)d %%). See the logs of the "
        "worker and of the machine."
    ) % {
        "attempt": job.attempt, "allowed": job.max_attempts, "seconds": app_settings.JOBS["STALL_SECONDS"],
        "progress": round(job.progress * 100),
    }
