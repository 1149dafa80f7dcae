"""Whether the work goes on: what the admin, the API and ``manage.py shopgen_health`` show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, Q, Sum
from django.db.models.functions import Greatest, Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.models import ACTIVE_JOB_STATES, Job, JobQueue, JobState, WorkerBeat

WAITING_TOO_LONG = 60.0
"""A job that has been ready for so many seconds while nothing runs: the work stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """One queue at this moment. Ages in seconds, None when there is nothing to measure."""

    queue: str
    ready: int
    oldest_ready_seconds: float | None
    running: int
    """Jobs under a lease that still holds."""
    lost: int
    """Jobs whose lease has run out and that no sweep has taken yet."""
    workers_alive: int
    """Workers whose supervisor (``shopgen_worker``) gave a sign of life lately."""
    last_beat_seconds: float | None
    ok: bool
    status: str
    """One sentence for people."""


def queue_health() -> list[QueueHealth]:
    """Every queue that jobs use or a worker serves; two queries."""
    jobs = {row["queue"]: row for row in _jobs()}
    beats = {row["queue"]: row for row in _beats()}
    wanted = {JobQueue.CPU.value, str(app_settings.ACCELERATED_QUEUE), *jobs, *beats}
    return [_judge(queue, jobs.get(queue, {}), beats.get(queue, {})) for queue in JobQueue.values if queue in wanted]


def _jobs() -> Any:
    ready = Q(
        state=JobState.QUEUED, not_before__lte=Now(), cancel_requested_at__isnull=True, attempt__lt=F("max_attempts")
    )
    running = Q(state=JobState.RUNNING)
    return (
        Job.objects.filter(state__in=ACTIVE_JOB_STATES).order_by().values("queue").annotate(
            ready=Count("pk", filter=ready),
            running=Count("pk", filter=running & Q(lease_until__gte=Now())),
            lost=Count("pk", filter=running & Q(lease_until__lt=Now())),
            oldest=Min(Greatest("created_at", "not_before"), filter=ready),
            now=Max(Now()),
        )
    )


def _beats() -> Any:
    fresh = Q(beat_at__gte=Now() - timedelta(seconds=beat_limit()), draining=False)
    return WorkerBeat.objects.order_by().values("queue").annotate(
        alive=Sum("workers", filter=fresh, default=0), last=Max("beat_at"), now=Max(Now())
    )


def beat_limit() -> float:
    """Seconds after which a silent worker group counts as gone."""
    return 3.0 * float(app_settings.JOBS["HEARTBEAT_SECONDS"]) + 5.0


def _age(row: dict[str, Any], name: str) -> float | None:
    then: datetime | None = row.get(name)
    return max(0.0, (row["now"] - then).total_seconds()) if then is not None else None


def _judge(queue: str, jobs: dict[str, Any], beats: dict[str, Any]) -> QueueHealth:
    ready, running, lost = jobs.get("ready", 0), jobs.get("running", 0), jobs.get("lost", 0)
    alive = beats.get("alive", 0)
    oldest = _age(jobs, "oldest") if ready else None
    stands_still = oldest is not None and oldest > WAITING_TOO_LONG and not running
    if stands_still and alive:
        status = _("Jobs are waiting, and the workers do not take them. shopgen_worker restarts them by itself.")
    elif not alive and not running:
        status = _("No worker is running. Start one with manage.py shopgen_worker.")
    elif running:
        status = _("Working.")
    else:
        status = _("Jobs are about to start.") if ready else _("Idle.")
    return QueueHealth(
        queue=queue, ready=ready, oldest_ready_seconds=oldest, running=running, lost=lost, workers_alive=alive,
        last_beat_seconds=_age(beats, "last"), ok=not stands_still and bool(alive or running), status=status,
    )
