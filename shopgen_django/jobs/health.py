"""Whether the work goes on: what the admin, the API and ``manage.py shopgen_health`` show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Case, Max, Q, Sum, When
from django.db.models.functions import Greatest, Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.models import Job, JobQueue, JobState, WorkerBeat

MAX_COUNT = 1_000
"""Jobs of each kind that are looked at: the answer must not take longer the more work waits."""
WAITING_TOO_LONG = 60.0
"""A job that has been ready for so many seconds while nothing runs: the work stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """One queue at this moment. Ages in seconds, None when there is nothing to measure.

    Counts stop at :data:`MAX_COUNT`. The age is that of the oldest of so many jobs that are to be taken next.
    """

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
    """Every queue that jobs use or a worker serves; two queries, whose cost does not grow with the jobs."""
    jobs = _jobs()
    beats = {row["queue"]: row for row in _beats()}
    wanted = {JobQueue.CPU.value, str(app_settings.ACCELERATED_QUEUE), *jobs, *beats}
    return [_judge(queue, jobs.get(queue, {}), beats.get(queue, {})) for queue in JobQueue.values if queue in wanted]


def _jobs() -> dict[str, dict[str, Any]]:
    """Jobs that wait or run, by queue; queues without any left out.

    Of each queue those that are to be taken next, in the order in which the index holds them; none behind is read. Of
    the running ones those that hold the longest leases (there are no more than workers, unless these were lost).
    """
    connection = connections[router.db_for_read(Job)]
    since = Greatest("created_at", "not_before")
    parts, params = [], []
    for queue in JobQueue.values:
        ready_now = Job.objects.ready(queue).annotate(since=since, moment=Now())
        sql, own = _sql(ready_now.values("since", "moment"), connection)
        parts.append(f"SELECT %s, COUNT(*), 0, 0, MIN(since), MAX(moment) FROM ({sql}) ready")  # noqa: S608 Django's SQL
        params += [queue, *own]
    holds = Case(When(lease_until__gte=Now(), then=1), default=0)
    running = Job.objects.filter(state=JobState.RUNNING).order_by("-lease_until").annotate(holds=holds)
    sql, own = _sql(running.values("queue", "holds"), connection)
    parts.append(f"SELECT queue, 0, SUM(holds), SUM(1 - holds), NULL, NULL FROM ({sql}) running GROUP BY queue")  # noqa: S608
    found: dict[str, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), [*params, *own])
        for queue, ready, runs, lost, oldest, now in cursor.fetchall():
            if ready:
                found.setdefault(queue, {}).update(
                    ready=ready, oldest=_moment(oldest, connection), now=_moment(now, connection)
                )
            elif runs is not None and runs + lost:
                found.setdefault(queue, {}).update(running=runs, lost=lost)
    return found


def _sql(rows: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    sql, params = rows[:MAX_COUNT].query.get_compiler(using=connection.alias).as_sql()
    return sql, list(params)


def _moment(value: Any, connection: BaseDatabaseWrapper) -> Any:
    """A time as the database hands it over, past the ORM."""
    column = Job._meta.get_field("created_at").cached_col
    for convert in connection.ops.get_db_converters(column):
        value = convert(value, column, connection)
    return value


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
