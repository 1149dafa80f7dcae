"""Previews: an operation on a small copy, through the queue, shown to the person who asks and then forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.exceptions import FileMissing, InvalidParameters, InvalidState, NotAllowed, StorageUnavailable
from shopgen_django.jobs.rings import ring
from shopgen_django.models import FINISHED_JOB_STATES, Job, ProductImage
from shopgen_django.operations.preview import Preview
from shopgen_django.operations.registry import get_operation
from shopgen_django.storage import private_storage

from .budgets import expected, set_aside
from .jobs import cancel_job
from .submit import Planned, choosable, keep_limits, plan_job, require_permission, write_job

FOLDER = "previews"
PRIORITY = 100
KEPT = timedelta(hours=1)


def submit_preview(
    *, operation: str, params: Mapping[str, Any] | None, inputs: Sequence[ProductImage], user: Any
) -> Job:
    """Queue a preview before all other work; the same person's earlier ones are cancelled.

    Raises what :func:`~shopgen_django.services.submit.submit_job` raises.
    """
    if not user.has_perm("shopgen.submit_job"):
        raise NotAllowed()
    planned = plan_job(operation=operation, params=params, inputs=inputs, user=user)
    chosen = choosable(operation)
    if chosen.makes_texts:
        raise InvalidParameters(_("Texts have no preview: queue the job, its texts wait to be read."))
    for part in chosen.parts(planned.params):
        require_permission(part, user)
    wanted = Planned(
        operation=get_operation(Preview.name), inputs=planned.inputs, target=planned.target, model=planned.model,
        params={"operation": operation, "params": planned.params, "place": f"{FOLDER}/{uuid.uuid4().hex}.webp"},
        seconds=planned.seconds, outputs=0, pictures=planned.pictures,
    )  # fmt: skip
    with transaction.atomic():
        for older in Job.objects.active().filter(operation=Preview.name, created_by=user):
            try:
                cancel_job(job=older, user=user)
            except InvalidState:  # it has ended this moment
                continue
        keep_limits(user)
        job = write_job(wanted, user, "", "", PRIORITY, None)
        set_aside(expected(job, wanted.operation, len(inputs), seconds=wanted.seconds), user)
        ring(job)
    return job


def preview_content(job: Job) -> bytes:
    """WebP bytes of a preview that is done. Raises FileMissing, StorageUnavailable."""
    name = str(job.params.get("place", ""))
    try:
        with private_storage().open(name, "rb") as handle:
            return bytes(handle.read())
    except StorageUnavailable:
        raise
    except OSError as error:
        raise FileMissing(name) from error


def forget_previews() -> int:
    """Remove previews that are older than :data:`KEPT`, with their files; returns how many."""
    old = Job.objects.filter(
        operation=Preview.name, state__in=FINISHED_JOB_STATES, created_at__lt=Now() - KEPT
    )
    removed = 0
    for job in old.only("pk", "params").order_by("pk")[:1000]:
        private_storage().delete(str(job.params["place"]))
        removed += job.delete()[0] and 1
    return removed
