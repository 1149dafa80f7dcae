"""Putting right what crashes leave behind. Every part may run at any time, in several processes at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from shopgen_django.conf import app_settings
from shopgen_django.models import Job, JobState

from .identity import is_dead
from .lease import take_from_worker
from .rings import ring_missing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What became of jobs that were taken from dead or hanging workers, and how many were rung for."""

    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    rung: int = 0


def recover(*, older_than: float | None = None) -> Recovered:
    """The quick part, every few seconds: jobs of lost workers go back or fail, jobs without a ring get one."""
    outcomes: list[str] = []
    for job, _reason in lost_jobs():
        outcome = take_from_worker(job)
        if outcome:
            outcomes.append(outcome)
            logger.warning("Job %s, attempt %d: its worker %s was lost; %s.", job.pk, job.attempt, job.worker, outcome)
    return Recovered(
        requeued=outcomes.count("requeued"), failed=outcomes.count("failed"), cancelled=outcomes.count("cancelled"),
        rung=ring_missing(older_than=older_than),
    )


def lost_jobs() -> list[tuple[Job, str]]:
    """Running jobs that no worker works on any more: the lease has run out, or the process is seen to be dead."""
    expired = [(job, "expired") for job in Job.objects.expired()]
    dead = [(job, "dead") for job in Job.objects.leased() if is_dead(job.worker)]
    return expired + dead


def release_group(group: str) -> int:
    """Give back the jobs of workers that their supervisor has killed; these attempts do not count."""
    running = Job.objects.filter(state=JobState.RUNNING, worker__endswith=f"/{group}")
    reason = "The worker was stopped before the job was done."
    return sum(bool(take_from_worker(job, innocent=True, reason=reason)) for job in running)


def sweep_interval() -> float:
    """Seconds between two whole sweeps."""
    return float(app_settings.JOBS["SWEEP_SECONDS"])
