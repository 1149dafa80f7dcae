"""What people do to jobs: cancel and retry."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidState, NotAllowed, NotFound
from shopgen_django.jobs.rings import ring
from shopgen_django.models import Job, JobState
from shopgen_django.operations.registry import get_operation

from .budgets import pay_again


def _may(user: Any, permission: str, job: Job) -> bool:
    """Own jobs may be cancelled and retried by whoever queued them; others need the permission."""
    if user is None or user.has_perm(permission):
        return True
    mine = bool(user.pk) and job.created_by_id == user.pk
    return mine and (user.has_perm("shopgen.submit_job") or _may_queue_it(user, job))


def _may_queue_it(user: Any, job: Job) -> bool:
    """Whether the operation's own permission is enough to queue it (uploads, imports)."""
    try:
        operation = get_operation(job.operation)
    except NotFound:
        return False
    return operation.takes_in and user.has_perm(f"shopgen.{operation.permission}")


def cancel_job(*, job: Job, user: Any = None) -> Job:
    """Cancel: a queued job at once, a running one at its next step (its results are thrown away).

    Raises NotAllowed; InvalidState when it has finished already.
    """
    if not _may(user, "shopgen.cancel_job", job):
        raise NotAllowed(_("You may not cancel this job."))
    with transaction.atomic():
        rows = Job.objects.filter(pk=job.pk)
        changed = rows.filter(state=JobState.QUEUED).update(
            state=JobState.CANCELLED, finished_at=Now(), cancel_requested_at=Now(), stage="",
            error_code="cancelled", updated_at=Now(),
        )
        if not changed:
            changed = rows.filter(state=JobState.RUNNING, cancel_requested_at__isnull=True).update(
                cancel_requested_at=Now(), updated_at=Now()
            )
        job.refresh_from_db()
    if not changed and job.state != JobState.CANCELLED and job.cancel_requested_at is None:
        raise InvalidState(
            _("The job has already finished (%(state)s); there is nothing to cancel.")
            % {"state": job.get_state_display()}
        )
    return job


def retry_job(*, job: Job, user: Any = None) -> Job:
    """Put a failed or cancelled job back into the queue, with a full set of attempts.

    The attempt number goes on counting (it is the fencing token); only the limit moves.

    Raises NotAllowed; InvalidState when the job is waiting, running or has succeeded; BudgetSpent.
    """
    if not _may(user, "shopgen.retry_job", job):
        raise NotAllowed(_("You may not retry this job."))
    with transaction.atomic():
        changed = Job.objects.filter(pk=job.pk, state__in=(JobState.FAILED, JobState.CANCELLED)).update(
            state=JobState.QUEUED,
            max_attempts=F("attempt") + _attempts(job),
            not_before=Now(), rung_at=Now(), finished_at=None, started_at=None, cancel_requested_at=None,
            error_code="", error_detail="", progress=0.0, stage="", lost_leases=0, worker="", updated_at=Now(),
        )
        job.refresh_from_db()
        if not changed:
            raise InvalidState(
                _("Only failed or cancelled jobs can be retried; this one is %(state)s.")
                % {"state": job.get_state_display()}
            )
        pay_again(job, get_operation(job.operation))
        ring(job)
    return job


def _attempts(job: Job) -> int:
    return int(get_operation(job.operation).max_attempts or app_settings.JOBS["MAX_ATTEMPTS"])
