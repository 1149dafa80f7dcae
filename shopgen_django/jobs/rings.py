"""Ringing again: for jobs whose message may be lost, and for those that come back into the queue."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import NotFound
from shopgen_django.models import Job, JobQueue, JobState
from shopgen_django.operations.registry import all_operations, get_operation

from .queue import get_queue

logger = logging.getLogger(__name__)

BLIND_LIMIT = 100
"""Rings per sweep on a queue that can't tell how many are pending."""


def ring(job: Job) -> None:
    """Tell a worker of this job, with the transaction when the queue lies in the same database, else after it."""
    queue = get_queue()
    notify = partial(queue.notify, str(job.pk), queue=job.queue, hard_timeout=hard_timeout(job))
    if queue.supports_transactional_enqueue:
        notify()
    else:
        transaction.on_commit(notify)


def hard_timeout(job: Job) -> int:
    """Seconds after which the queue may kill the worker of this job."""
    default = int(app_settings.JOBS["HARD_TIMEOUT_SECONDS"])
    try:
        return int(get_operation(job.operation).hard_timeout or default)
    except NotFound:
        return default


def longest_job() -> int:
    """The largest hard time limit that any job may have, in seconds."""
    limits = [int(operation.hard_timeout) for operation in all_operations() if operation.hard_timeout]
    return max([int(app_settings.JOBS["HARD_TIMEOUT_SECONDS"]), *limits])


def ring_missing(*, older_than: float | None = None) -> int:
    """Ring for ready jobs that nobody rings for: lost messages, jobs that came back, jobs whose pause is over.

    A worker takes the best ready job whatever the message says, so it is enough that as many rings are pending as jobs
    are ready; a long queue is not rung for over and over. ``older_than``: seconds since the last ring, by default
    ``RERING_SECONDS``. Returns the number of rings.
    """
    seconds = float(app_settings.JOBS["RERING_SECONDS"]) if older_than is None else older_than
    rung = 0
    for queue in JobQueue.values:
        stale = Job.objects.stale_rings(seconds).filter(queue=queue)
        if not stale.exists():
            continue
        pending = get_queue().pending(queue)
        if pending is None:
            missing = BLIND_LIMIT
        else:
            missing = Job.objects.ready(queue).count() - pending
        for job in stale[: max(0, missing)]:
            rung += _ring_once(job, seconds)
    return rung


def _ring_once(job: Job, seconds: float) -> int:
    """Ring unless another sweeper has just done so."""
    with transaction.atomic():
        mine = Job.objects.filter(
            Q(rung_at__isnull=True) | Q(rung_at__lt=Now() - timedelta(seconds=seconds)),
            pk=job.pk, state=JobState.QUEUED,
        ).update(rung_at=Now())
        if not mine:
            return 0
        ring(job)
    return 1
