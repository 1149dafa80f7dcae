"""One operation over many pictures or products: all jobs are queued, or none."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.utils.translation import gettext as _

from shopgen_django.exceptions import IdempotencyConflict, InvalidState, NotAllowed, ShopgenError
from shopgen_django.models import ImageState, Job, ProductImage, UsageHold

from .budgets import set_aside
from .intake import submit_import
from .named import named_pictures
from .submit import Planned, choosable, keep_limits, plan_job, submit_job


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One job to be. ``name`` is what the caller called it: a picture's id or a product's key."""

    name: str
    inputs: tuple[ProductImage, ...] = ()
    catalogue: str = ""
    object_pk: str = ""
    import_first: bool = False
    """The product's photos are not here yet: a worker imports them, and then each becomes a job of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why one item can't become a job."""

    item: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What a batch would do, before anything is written."""

    items: tuple[BatchItem, ...]
    """Those that can be queued."""
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]

    @property
    def seconds(self) -> float:
        return sum(plan.seconds for plan in self.planned)

    @property
    def outputs(self) -> int:
        return sum(plan.outputs for plan in self.planned)


def plan_batch(
    *, operation: str, params: Mapping[str, Any] | None, items: Sequence[BatchItem], user: Any = None
) -> BatchPlan:
    """Check every item; writes nothing. ``user``: who asks (``None``: the shop itself).

    What is wrong with the operation or its parameters is wrong for all items and raised at once, as
    :func:`shopgen_django.services.submit.plan_job` does; what is wrong with one item becomes its problem.
    """
    chosen = choosable(operation)
    named_pictures(chosen, chosen.clean(chosen.Parameters.parse(params)), user)
    good, planned, problems = [], [], []
    for item in items:
        try:
            _refuse_rejected(item)
            plan = plan_job(
                operation=operation, params=params, inputs=item.inputs, catalogue=item.catalogue,
                object_pk=item.object_pk, to_come=int(item.import_first), user=user,
            )
        except ShopgenError as error:
            problems.append(Problem(item=item.name, code=error.code, message=str(error)))
        else:
            good.append(item)
            planned.append(plan)
    return BatchPlan(items=tuple(good), planned=tuple(planned), problems=tuple(problems))


def submit_batch(
    *, operation: str, params: Mapping[str, Any] | None, items: Sequence[BatchItem], user: Any,
    idempotency_key: str = "", request: object = None,
) -> tuple[uuid.UUID, list[Job], bool]:
    """Queue one job per item in one transaction; the batch's id, its jobs and whether they are new.

    ``request`` is the caller's own request as JSON-able values: the same key with the same request gives the same
    batch, also when a filter in it would match other rows by now.

    Raises what :func:`~shopgen_django.services.submit.submit_job` raises, and then nothing has been queued.
    """
    digest, batch = _digest(request), _batch_id(user, idempotency_key)
    with transaction.atomic():
        if idempotency_key:
            _take_turns(user)
            known = known_batch(user=user, idempotency_key=idempotency_key, request=request)
            if known is not None:
                return batch, known, False
        # Once for all: each count reads as many rows as jobs are waiting.
        keep_limits(user if getattr(user, "pk", None) else None, adding=len(items))
        jobs: list[Job] = []
        holds: list[UsageHold] = []
        for index, item in enumerate(items):
            key = f"batch:{digest}:{index}:{batch.hex}" if idempotency_key else ""
            if item.import_first:
                jobs += _import_first(operation, params, item, user, batch, key)
                continue
            job, _created = submit_job(
                operation=operation, params=params, inputs=item.inputs, catalogue=item.catalogue,
                object_pk=item.object_pk, user=user, batch=batch, idempotency_key=key, counted=True, holds=holds,
            )
            jobs.append(job)
        set_aside(holds, user)
    return batch, jobs, True


def _import_first(
    operation: str, params: Mapping[str, Any] | None, item: BatchItem, user: Any, batch: uuid.UUID, key: str
) -> tuple[Job, ...]:
    if user is not None and not user.has_perm("shopgen.submit_job"):
        raise NotAllowed(_("You may not queue jobs."))
    return submit_import(
        catalogue=item.catalogue, products=[item.object_pk], then={"operation": operation, "params": params},
        user=user, batch=batch, idempotency_key=key, counted=True, wanted_again=True,
    ).jobs


def known_batch(*, user: Any, idempotency_key: str, request: object) -> list[Job] | None:
    """The jobs that this key has queued before; None when it is new. Raises IdempotencyConflict for another request."""
    digest, batch = _digest(request), _batch_id(user, idempotency_key)
    # What workers have queued in it since (an import's parts, what follows one) has no key and was not asked for.
    rows = Job.objects.filter(batch=batch, created_by=user).exclude(idempotency_key="")
    jobs = list(rows.order_by("created_at", "id"))
    if not jobs:
        return None
    if not jobs[0].idempotency_key.startswith(f"batch:{digest}:"):
        raise IdempotencyConflict(
            _("This Idempotency-Key was used for another request. Use a new key for a new request.")
        )
    return jobs


def _refuse_rejected(item: BatchItem) -> None:
    if any(image.state == ImageState.REJECTED for image in item.inputs):
        raise InvalidState(_("A rejected picture can't be used as an input."))


def _digest(request: object) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _batch_id(user: Any, key: str) -> uuid.UUID:
    """Random, or with a key always the same for the same user."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"shopgen:batch:{user.pk}:{key}") if key else uuid.uuid4()


def _take_turns(user: Any) -> None:
    """Two requests of one user with one key wait for each other (SQLite's immediate transactions do so anyway)."""
    # Not the key: rows that name the user may be written meanwhile, by a worker that has the lock we ask for next.
    no_key = connection.features.has_select_for_no_key_update
    rows = get_user_model()._base_manager.select_for_update(no_key=no_key)
    list(rows.filter(pk=user.pk).values_list("pk", flat=True))
