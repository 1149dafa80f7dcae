"""Pictures come in: uploads, and the photos that products have in the shop. Queued here, decoded by a worker.

The request looks at a file without decoding it, keeps the bytes privately, and writes a job; :mod:`shopgen_django.jobs`
does the rest. Without a running worker the picture waits.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, LimitExceeded, NotAllowed
from shopgen_django.jobs.rings import ring
from shopgen_django.jobs.sources import PRODUCTS_PER_JOB, products_label
from shopgen_django.models import DigitalSource, Job
from shopgen_django.operations.registry import get_operation
from shopgen_django.storage import incoming_name, private_storage, save_bytes

from .submit import Planned, Target, check_row_values, choosable, keep_limits, known_job, write_job

UPLOAD_PRIORITY = 10
"""Before ordinary work: somebody waits for it, and it is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """An import that was asked for."""

    batch: uuid.UUID
    jobs: tuple[Job, ...]
    products: int | None
    """How many products; None for as many as the worker finds."""
    is_new: bool
    """False: the same import waits or runs already, and these are its jobs."""


def submit_upload(
    *,
    source: IO[bytes] | bytes,
    name: str = "",
    catalogue: str = "",
    object_pk: object = "",
    category: str = "",
    alt_text: str = "",
    digital_source: str = DigitalSource.UNKNOWN,
    user: Any = None,
    batch: uuid.UUID | None = None,
    idempotency_key: str = "",
) -> tuple[Job, bool]:
    """Look at a file without decoding it, keep it, and queue the job that takes it in; the job and whether it is new.

    The job's ``result["images"]`` holds the picture's id once it has succeeded: a new one, or the one that is there
    already when the same picture was stored for the same product before. Without ``digital_source`` the origin that
    the file itself states (its XMP) is kept: a generated picture stays marked when it comes back in.

    Raises InvalidParameters with the intake's stable code, ProductNotFound, StorageFull, NotAllowed, LimitExceeded,
    IdempotencyConflict.
    """
    operation = get_operation("upload")
    _require_adding(user)
    check_row_values(idempotency_key, UPLOAD_PRIORITY)
    content, sha256 = _looked_at(source)
    name = _shown_name(name)
    params = operation.Parameters.parse({
        "name": name, "alt_text": alt_text[:500], "category": category[:100], "digital_source": digital_source,
    })  # fmt: skip
    key = str(object_pk)
    digest = _digest({**params, "sha256": sha256, "catalogue": (catalogue or "default") if key else "", "pk": key})
    owner = user if getattr(user, "pk", None) else None
    if idempotency_key:
        known = known_job(owner, idempotency_key, digest)
        if known is not None:
            return known, False
    target = _target(catalogue or "default", key) if key else Target(label=name)
    pk = uuid.uuid4()
    file = save_bytes(incoming_name(pk, sha256), content)
    planned = Planned(
        operation=operation, params={**params, "file": file, "sha256": sha256}, inputs=(), target=target, model=None,
        seconds=0.0, outputs=1,
    )
    try:
        with transaction.atomic():
            keep_limits(owner)
            _keep_upload_limit()
            job = write_job(planned, owner, idempotency_key, digest, UPLOAD_PRIORITY, batch, pk)
            ring(job)
    except BaseException as error:
        private_storage().delete(file)
        # Another request with the same key was faster; its job is the answer.
        known = known_job(owner, idempotency_key, digest) if _is_race(error, idempotency_key) else None
        if known is None:
            raise
        return known, False
    return job, True


def submit_import(
    *,
    catalogue: str = "default",
    products: Sequence[object] | None = None,
    category: str = "",
    search: str = "",
    then: Mapping[str, Any] | None = None,
    user: Any = None,
    batch: uuid.UUID | None = None,
    idempotency_key: str = "",
    counted: bool = False,
    wanted_again: bool = False,
) -> Requested:
    """Queue the import of the photos of these products (any number), or with None of all on offer that match.

    The same import by the same person that still waits or runs is not queued again. ``then`` names an operation and
    its params, to be queued for each photo once it is in. ``counted``: the caller has called
    :func:`~shopgen_django.services.submit.keep_limits` in this transaction. ``wanted_again``: queue it even so.

    Raises ProductNotFound for a single product that does not exist (one among several becomes a problem of the job),
    InvalidParameters, NotAllowed, LimitExceeded.
    """
    operation = get_operation("import_photos")
    _require_adding(user)
    params = operation.Parameters.parse({"category": category, "search": search})
    if then is not None:
        chosen = choosable(str(then["operation"]))
        params["then"] = {"operation": chosen.name, "params": chosen.clean(chosen.Parameters.parse(then["params"]))}
    keys = None if products is None else list(dict.fromkeys(str(key) for key in products))
    owner = user if getattr(user, "pk", None) else None
    digest = _digest({**params, "catalogue": catalogue, "products": keys})
    chunks = _chunks(keys)
    with transaction.atomic():
        if not counted:
            keep_limits(owner, adding=len(chunks))
        running = [] if wanted_again else _running(operation.name, digest, owner)
        if running:
            return Requested(batch=running[0].batch or uuid.uuid4(), jobs=tuple(running), products=None, is_new=False)
        batch = batch or uuid.uuid4()
        jobs = []
        for chunk in chunks:
            job = write_job(
                Planned(
                    operation=operation, params=params if chunk is None else {**params, "products": chunk}, inputs=(),
                    target=_import_target(catalogue, chunk), model=None, seconds=0.0, outputs=len(chunk or ()),
                ),
                owner, idempotency_key, digest, 0, batch,
            )  # fmt: skip
            ring(job)
            jobs.append(job)
    return Requested(batch=batch, jobs=tuple(jobs), products=None if keys is None else len(keys), is_new=True)


def _chunks(keys: list[str] | None) -> list[list[str] | None]:
    if keys is None:
        return [None]
    return [keys[start : start + PRODUCTS_PER_JOB] for start in range(0, len(keys), PRODUCTS_PER_JOB)]


def _import_target(catalogue: str, keys: list[str] | None) -> Target:
    if keys is None:
        get_catalogue(catalogue)
        return Target(catalogue=catalogue, label=_("The whole catalogue"))
    if len(keys) == 1:
        return _target(catalogue, keys[0])
    return Target(catalogue=catalogue, label=products_label(keys))


def _target(alias: str, key: str) -> Target:
    product = get_catalogue(alias).get(key)  # one way of writing it: "07" finds the product as well
    return Target(
        catalogue=alias, object_pk=product.pk, label=product.title[:255], category=product.category[:100]
    )


def _running(operation: str, digest: str, owner: Any) -> list[Job]:
    """The jobs of the same import that has not ended yet, its parts among them."""
    rows = Job.objects.active().filter(operation=operation, request_sha256=digest, created_by=owner)
    return list(rows.exclude(batch=None).order_by("created_at", "id"))


def _require_adding(user: Any) -> None:
    if user is not None and not user.has_perm("shopgen.add_productimage"):
        raise NotAllowed(_("You may not add pictures."))


def _looked_at(source: IO[bytes] | bytes) -> tuple[bytes, str]:
    """The file's bytes and their SHA-256, once it is clear that it may be taken. Nothing is decoded."""
    from shopgen_django.imaging.intake import IntakeError, inspect
    from shopgen_django.operations.intake import intake_limits

    try:
        limits = intake_limits()
        content = source if isinstance(source, bytes) else source.read(limits.max_bytes + 1)
        return content, inspect(content, limits).sha256
    except IntakeError as error:
        raise InvalidParameters(
            f"{error.message} {error.hint}".strip(), code=error.code, fields={"file": [error.message]}
        ) from error


def _shown_name(name: str) -> str:
    """The file's name for people: its last part, printable, of bounded length. It never reaches the disk."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in last if sign.isprintable())[:255]


def _keep_upload_limit() -> None:
    """Uploads that nobody takes in fill the disk."""
    limit = int(app_settings.LIMITS["WAITING_UPLOADS"])
    if Job.objects.active().filter(operation="upload").count() >= limit:
        raise LimitExceeded(
            _("%(count)d uploads wait for a worker already. Try again when it has caught up.") % {"count": limit},
            retry_after=60,
        )


def _is_race(error: BaseException, key: str) -> bool:
    return bool(key) and isinstance(error, IntegrityError)


def _digest(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
