"""Queue work: validate, find the model and the product, write one Job row, ring the queue."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import (
    IdempotencyConflict,
    InvalidParameters,
    InvalidState,
    LimitExceeded,
    ModelUnavailable,
    NotAllowed,
    NotFound,
)
from shopgen_django.jobs.rings import ring
from shopgen_django.models import ImageState, Job, JobInput, JobQueue, ModelVersion, ProductImage, UsageHold
from shopgen_django.operations.base import Operation
from shopgen_django.operations.registry import get_operation, public_operations

from .budgets import expected, set_aside
from .named import named_pictures

# Guards "count, then insert" on PostgreSQL; SQLite's IMMEDIATE transactions are serial already.
_LIMIT_LOCK = 0x53484F50


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The product that a job works for."""

    catalogue: str = ""
    object_pk: str = ""
    label: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A validated request, before anything is written (what a dry run shows)."""

    operation: Operation
    params: dict[str, Any]
    inputs: tuple[ProductImage, ...]
    target: Target
    model: ModelVersion | None
    seconds: float
    outputs: int
    pictures: tuple[ProductImage, ...] = ()
    """Those that parameters name beside the inputs."""


def plan_job(
    *,
    operation: str,
    params: Mapping[str, Any] | None = None,
    inputs: Sequence[ProductImage] = (),
    catalogue: str = "",
    object_pk: object = "",
    to_come: int = 0,
    user: Any = None,
) -> Planned:
    """Check a request and say what it would do; writes nothing. ``to_come``: inputs that are yet to be imported.
    ``user``: who asks, and may see the pictures that parameters name; ``None``: the shop itself.

    Raises InvalidParameters, NotFound (operation, product), ModelUnavailable.
    """
    chosen = choosable(operation)
    return _plan(chosen, chosen.clean(chosen.Parameters.parse(params)), inputs, catalogue, object_pk, user, to_come)


def _plan(
    chosen: Operation, parsed: dict[str, Any], inputs: Sequence[ProductImage], catalogue: str, object_pk: object,
    user: Any, to_come: int = 0,
) -> Planned:
    _check_inputs(chosen, len(inputs) + to_come)
    target = _target(catalogue, str(object_pk) if object_pk != "" else "", inputs)
    model = _model_for(chosen, parsed, target)
    estimate = chosen.estimate(parsed, len(inputs) + to_come)
    return Planned(
        operation=chosen, params=parsed, inputs=tuple(inputs), target=target, model=model,
        seconds=estimate.seconds, outputs=estimate.outputs, pictures=named_pictures(chosen, parsed, user),
    )


def submit_job(
    *,
    operation: str,
    params: Mapping[str, Any] | None = None,
    inputs: Sequence[ProductImage] = (),
    catalogue: str = "",
    object_pk: object = "",
    user: Any = None,
    idempotency_key: str = "",
    priority: int = 0,
    batch: uuid.UUID | None = None,
    counted: bool = False,
    holds: list[UsageHold] | None = None,
) -> tuple[Job, bool]:
    """Queue one job; returns it and whether it is new.

    The same ``idempotency_key`` of the same user with the same request gives the job that was made before, also when
    the request could not be served any more (its product or model is gone). ``counted``: the caller has called
    :func:`keep_limits` in this transaction. ``holds``: what the job would spend is added to it, and the caller writes
    it and asks the budgets.

    Raises what :func:`plan_job` raises, IdempotencyConflict for the same key with another request,
    LimitExceeded when too many jobs wait, BudgetSpent (one of those) when a budget does not pay for it.
    """
    if user is not None and not user.has_perm("shopgen.submit_job"):
        raise NotAllowed(_("You may not queue jobs."))
    check_row_values(idempotency_key, priority)
    chosen = choosable(operation)
    require_permission(chosen, user)
    parsed = chosen.clean(chosen.Parameters.parse(params))
    for part in chosen.parts(parsed):
        require_permission(part, user)
    owner = user if getattr(user, "pk", None) else None
    # What the name of a recipe stood for is no part of the request: it may be edited before the request is repeated.
    asked = {**parsed, "steps": None} if chosen.is_chain and not (params or {}).get("steps") else parsed
    digest = _request_digest(chosen, asked, inputs, catalogue, object_pk, priority)
    if idempotency_key:
        known = known_job(owner, idempotency_key, digest)
        if known is not None:
            return known, False
    planned = _plan(chosen, parsed, inputs, catalogue, object_pk, user)
    try:
        with transaction.atomic():
            if not counted:
                keep_limits(owner)
            job = write_job(planned, owner, idempotency_key, digest, priority, batch)
            rows = expected(job, planned.operation, len(planned.inputs), seconds=planned.seconds)
            if holds is None:
                set_aside(rows, owner)
            else:
                holds += rows
            ring(job)
    except IntegrityError:
        # Another request with the same key was faster; its job is the answer.
        known = known_job(owner, idempotency_key, digest) if idempotency_key else None
        if known is None:
            raise
        return known, False
    return job, True


def choosable(name: str) -> Operation:
    """The operation that somebody named. Raises NotFound, also for one that only a service of its own queues."""
    chosen = get_operation(name)
    if not chosen.public:
        raise NotFound(
            _("There is no operation %(name)s. Known are: %(known)s.")
            % {"name": name, "known": ", ".join(operation.name for operation in public_operations())},
            code="unknown_operation",
        )
    return chosen


def require_permission(operation: Operation, user: Any) -> None:
    """Raises NotAllowed when the user lacks what the operation needs beside the right to queue jobs."""
    if operation.permission and user is not None and not user.has_perm(f"shopgen.{operation.permission}"):
        raise NotAllowed(
            _("You may not run this operation: %(name)s.") % {"name": operation.label}
        )


def _check_inputs(operation: Operation, given: int) -> None:
    if not operation.min_inputs <= given <= operation.max_inputs:
        if operation.max_inputs == 0:
            text = _("%(operation)s takes no input pictures.") % {"operation": operation.label}
        else:
            text = _("%(operation)s takes %(low)d to %(high)d input pictures; %(given)d were given.") % {
                "operation": operation.label, "low": operation.min_inputs,
                "high": operation.max_inputs, "given": given,
            }
        raise InvalidParameters(text, fields={"inputs": [text]})


def _target(catalogue: str, object_pk: str, inputs: Sequence[ProductImage]) -> Target:
    if object_pk:
        alias = catalogue or "default"
        product = get_catalogue(alias).get(object_pk)
        # The product's own way of writing its key: "07", or a UUID without hyphens, finds it as well.
        return Target(
            catalogue=alias, object_pk=product.pk, label=product.title[:255], category=product.category[:100]
        )
    if inputs:
        first = inputs[0]
        return Target(
            catalogue=first.catalogue, object_pk=first.object_pk, label=first.product_label, category=first.category
        )
    return Target()


def _model_for(operation: Operation, params: Mapping[str, Any], target: Target) -> ModelVersion | None:
    if not operation.model_purpose:
        return None
    category = str(params.get("category") or target.category or "")
    active = ModelVersion.objects.filter(purpose=operation.model_purpose, is_active=True)
    model = (category and active.filter(category=category).first()) or active.filter(category="").first()
    if model is None and not category:
        model = active.first() if active.count() == 1 else None
    if model is None:
        if operation.model_optional:
            return None
        raise ModelUnavailable(
            _("There is no active model for this. Train one with manage.py train_gan --activate, or activate a "
              "version under Model versions.")
        )
    wanted = str(params.get("category") or "")
    known = tuple(model.config.get("categories") or ())
    if wanted and known and wanted not in known:
        text = _("The model does not know the category %(name)s. It knows: %(known)s.") % {
            "name": wanted, "known": ", ".join(known)
        }
        raise InvalidParameters(text, fields={"category": [text]})
    return model


def check_row_values(idempotency_key: str, priority: int) -> None:
    if len(idempotency_key) > 255 or not idempotency_key.isprintable():
        text = _("An idempotency key has at most 255 characters, all of them printable.")
        raise InvalidParameters(text, fields={"idempotency_key": [text]})
    if not -32768 <= priority <= 32767:
        text = _("The priority must be between -32768 and 32767.")
        raise InvalidParameters(text, fields={"priority": [text]})


def _request_digest(
    operation: Operation, params: Mapping[str, Any], inputs: Sequence[ProductImage], catalogue: str, object_pk: object,
    priority: int,
) -> str:
    """All that makes two requests different, as they were given: what they refer to may have changed since."""
    key = str(object_pk)
    body = {
        "operation": operation.name,
        "params": params,
        "inputs": [str(image.pk) for image in inputs],
        "catalogue": (catalogue or "default") if key else "",
        "object_pk": key,
        "priority": priority,
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def known_job(owner: Any, key: str, digest: str) -> Job | None:
    job = Job.objects.filter(created_by=owner, idempotency_key=key).first()
    if job is not None and job.request_sha256 != digest:
        raise IdempotencyConflict(
            _("This Idempotency-Key was used for another request. Use a new key for a new request.")
        )
    return job


def keep_limits(owner: Any, *, adding: int = 1) -> None:
    """Refuse (LimitExceeded) when ``adding`` jobs would be too many; call it in the transaction that writes them.

    Counted under a lock, so that the cap can't be overshot.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LIMIT_LOCK])
    limits = app_settings.LIMITS
    if Job.objects.active().count() + adding > limits["QUEUED_JOBS"]:
        raise LimitExceeded(_("Too many jobs are waiting. Try again in a while."), retry_after=60)
    if owner is not None:
        mine = Job.objects.active().filter(created_by=owner).count()
        if mine + adding > limits["ACTIVE_JOBS_PER_USER"]:
            raise LimitExceeded(
                _("You have %(count)d jobs waiting or running; wait until some have finished.") % {"count": mine},
                retry_after=30,
            )


def _hold_inputs(inputs: Sequence[ProductImage]) -> None:
    """Look at the inputs once more, locked until the job names them: they may have been deleted or rejected since."""
    if not inputs:
        return
    keys = {image.pk for image in inputs}
    rows = ProductImage.objects.filter(pk__in=keys).order_by("pk").select_for_update()
    states = dict(rows.values_list("pk", "state"))
    if len(states) < len(keys):
        raise NotFound(_("An input picture has been deleted meanwhile."), code="image_deleted")
    if ImageState.REJECTED in states.values():
        raise InvalidState(_("A rejected picture can't be used as an input."))


def _queue_of(planned: Planned) -> str:
    fast = any(part.accelerated for part in planned.operation.parts(planned.params))
    return str(app_settings.ACCELERATED_QUEUE if fast else JobQueue.CPU)


def write_job(
    planned: Planned, owner: Any, key: str, digest: str, priority: int, batch: uuid.UUID | None,
    pk: uuid.UUID | None = None,
) -> Job:
    """The row, not yet rung for; call it in the transaction that rings. ``pk``: the id that it shall have."""
    held = (*planned.inputs, *planned.pictures)
    _hold_inputs(held)
    operation = planned.operation
    if batch is None and operation.takes_in:
        batch = uuid.uuid4()  # it may become several jobs, and those belong together
    job = Job(
        id=pk or uuid.uuid4(),
        operation=operation.name,
        params=planned.params,
        params_version=operation.Parameters.version,
        catalogue=planned.target.catalogue,
        object_pk=planned.target.object_pk,
        product_label=planned.target.label,
        model_version=planned.model,
        batch=batch,
        queue=_queue_of(planned),
        priority=priority,
        max_attempts=operation.max_attempts or app_settings.JOBS["MAX_ATTEMPTS"],
        idempotency_key=key,
        request_sha256=digest,
        created_by=owner,
        rung_at=Now(),
    )
    job.save(force_insert=True)
    JobInput.objects.bulk_create(
        JobInput(job=job, image=image, position=position) for position, image in enumerate(held)
    )
    job.refresh_from_db(fields=["not_before", "rung_at"])
    return job
