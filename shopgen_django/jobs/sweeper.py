"""Putting right what crashes leave behind. Every part may run at any time, in several processes at once.

It runs from four places: the supervisor (``shopgen_worker``), ``manage.py shopgen_sweep`` for cron, a django-q2
schedule of :func:`shopgen_django.jobs.entrypoints.sweep` if the shop wants one, and now and then before a claim.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.models import Job, JobState, RunState, TrainingRun, WorkerBeat

from .files import remove_attempt_files
from .identity import is_dead
from .lease import entry, take_from_worker
from .queue import get_queue
from .rings import ring_missing

logger = logging.getLogger(__name__)

RUN_SILENCE_SECONDS = 600
"""A training run that gave no sign for so long is lost; on this machine it is enough that its process is gone."""
RUN_GONE_SECONDS = 60
BEAT_KEPT_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What became of jobs that were taken from dead or hanging workers, and how many were rung for."""

    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    rung: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one whole sweep did."""

    recovered: Recovered
    set_aside: int = 0
    expired: int = 0
    lost_runs: int = 0


def recover(*, older_than: float | None = None) -> Recovered:
    """The quick part, every few seconds: jobs of lost workers go back or fail, jobs without a ring get one.

    ``older_than``: see :func:`shopgen_django.jobs.rings.ring_missing`.
    """
    outcomes: list[str] = []
    for job in Job.objects.filter(state=JobState.RUNNING, lease_until__lt=Now()):
        outcomes += _take(job, dead=False)
    for job in Job.objects.leased():
        if is_dead(job.worker):
            outcomes += _take(job, dead=True)
    return Recovered(
        requeued=outcomes.count("requeued"), failed=outcomes.count("failed"), cancelled=outcomes.count("cancelled"),
        rung=ring_missing(older_than=older_than),
    )


def _take(job: Job, *, dead: bool) -> list[str]:
    outcome = take_from_worker(job, expired=not dead)
    if not outcome:
        return []
    logger.warning("Job %s, attempt %d: its worker %s was lost; %s.", job.pk, job.attempt, job.worker, outcome)
    if dead:
        # One that only hangs may write yet; what it leaves is found by the sweep of the files.
        remove_attempt_files(job.pk, job.attempt)
    return [outcome]


def release_group(group: str) -> int:
    """Give back the jobs of workers that their supervisor has killed; these attempts do not count."""
    reason = _("The worker was stopped before the job was done.")
    given_back = 0
    for job in Job.objects.filter(state=JobState.RUNNING, worker__endswith=f"/{group}"):
        if take_from_worker(job, innocent=True, reason=reason):
            remove_attempt_files(job.pk, job.attempt)
            given_back += 1
    return given_back


def sweep() -> Swept:
    """Everything except the files (:func:`shopgen_django.jobs.files.sweep_files`, which reads whole folders)."""
    set_aside = get_queue().set_aside_unreadable()
    WorkerBeat.objects.filter(beat_at__lt=Now() - timedelta(seconds=BEAT_KEPT_SECONDS)).delete()
    return Swept(
        set_aside=set_aside, expired=expire_jobs(), lost_runs=mark_lost_runs(), recovered=recover(),
    )


def expire_jobs() -> int:
    """Fail jobs that waited longer than ``EXPIRE_SECONDS`` (None: they wait for ever)."""
    seconds = app_settings.JOBS["EXPIRE_SECONDS"]
    if seconds is None:
        return 0
    waiting = Job.objects.filter(
        state=JobState.QUEUED, attempt=0, created_at__lt=Now() - timedelta(seconds=float(seconds))
    )
    detail = _("No worker took this job within %(seconds)d seconds.") % {"seconds": int(seconds)}
    expired = 0
    for job in waiting.only("pk", "history"):
        expired += Job.objects.filter(pk=job.pk, state=JobState.QUEUED, attempt=0).update(
            state=JobState.FAILED, finished_at=Now(), updated_at=Now(), error_code="expired", error_detail=detail,
            history=[*job.history, entry(attempt=0, worker="", started=None, outcome="failed", code="expired")],
        )
    return expired


def mark_lost_runs() -> int:
    """Mark training runs whose process went away without a word; they can be resumed.

    An estimate whose process is gone has failed: there is nothing to resume.
    """
    begun = TrainingRun.objects.filter(state=RunState.RUNNING) | TrainingRun.objects.filter(
        state=RunState.ESTIMATING
    ).exclude(process="")
    silent = begun.annotate(sign=Coalesce(F("heartbeat_at"), F("started_at")))
    lost = {run.pk for run in silent.filter(sign__lt=Now() - timedelta(seconds=RUN_SILENCE_SECONDS))}
    lost.update(run.pk for run in begun.exclude(process="") if is_dead(run.process))
    here = silent.filter(
        host=socket.gethostname(), pid__isnull=False, process="", sign__lt=Now() - timedelta(seconds=RUN_GONE_SECONDS)
    )
    lost.update(run.pk for run in here if not _process_exists(run.pid))
    if not lost:
        return 0
    rows, end = TrainingRun.objects.filter(pk__in=lost), {"finished_at": Now(), "process": "", "stage": ""}
    reason = _("The process of this run went away without a word; the machine may have been switched off.")
    how = _("Resume it on its page, or run the same command again, to go on from the last snapshot.")
    failed = rows.filter(state=RunState.ESTIMATING).update(state=RunState.FAILED, error=reason, **end)
    return failed + rows.filter(state=RunState.RUNNING).update(
        state=RunState.LOST, error=f"{reason} {how}", **end
    )


def _process_exists(pid: int | None) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
