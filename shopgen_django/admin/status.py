"""What the start page and the banners say about the work: counts that stop counting, and whether workers live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import ngettext

from shopgen_django.jobs.health import MAX_COUNT, queue_health
from shopgen_django.models import ACTIVE_JOB_STATES, ImageState, Job, JobState, ProductImage, TextState, TextSuggestion
from shopgen_django.models.counts import capped_counts

ARRIVING = ("upload", "import_photos")
"""Operations that bring photos in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Counts for the start page; each stops at :data:`MAX_COUNT`."""

    waiting: int
    texts: int
    approved: int
    running: int
    queued: int
    failed: int
    warnings: tuple[str, ...]


def counted(rows: Any) -> int:
    """Number of rows, at most :data:`MAX_COUNT` (a page must not read a table to its end)."""
    return int(rows[:MAX_COUNT].count())


def overview() -> Overview:
    """One query, and those of the warnings."""
    images = [ProductImage.objects.filter(state=state) for state in (ImageState.IN_REVIEW, ImageState.APPROVED)]
    texts = TextSuggestion.objects.filter(state=TextState.IN_REVIEW)
    jobs = [Job.objects.filter(state=state) for state in (JobState.RUNNING, JobState.QUEUED, JobState.FAILED)]
    waiting, approved, written, running, queued, failed = capped_counts(MAX_COUNT, *images, texts, *jobs)
    return Overview(
        waiting=waiting, texts=written, approved=approved, running=running, queued=queued, failed=failed,
        warnings=worker_warnings(),
    )


def arriving(user: Any) -> tuple[str, ...]:
    """What is on its way into the list of pictures, and whether anybody works on it. One query, more if there is.

    Looked for among the newest of the waiting and of the running jobs, so that a long queue does not make it slow.
    """
    jobs = [Job.objects.visible_to(user).filter(state=state).order_by("-created_at") for state in ACTIVE_JOB_STATES]
    number = sum(capped_counts(MAX_COUNT, *jobs, among=("operation", ARRIVING)))
    if not number:
        return ()
    text = ngettext(
        "%(n)d job is bringing in photos; they are listed here as soon as a worker has taken them in.",
        "%(n)d jobs are bringing in photos; they are listed here as soon as a worker has taken them in.", number,
    ) % {"n": number}  # fmt: skip
    return text, *worker_warnings()


def worker_warnings() -> tuple[str, ...]:
    """One sentence for each queue whose jobs wait for nobody. Two queries."""
    found = []
    for health in queue_health():
        if not health.ready or health.running:
            continue
        if not health.workers_alive:
            found.append(
                ngettext(
                    "%(count)d job is waiting and no worker is running (%(queue)s). Start one: "
                    "manage.py shopgen_worker",
                    "%(count)d jobs are waiting and no worker is running (%(queue)s). Start one: "
                    "manage.py shopgen_worker", health.ready,
                ) % {"count": health.ready, "queue": health.queue}
            )  # fmt: skip
        elif not health.ok:
            found.append(health.status)
    return tuple(found)
