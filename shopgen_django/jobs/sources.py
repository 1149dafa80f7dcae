"""Jobs that take pictures in: what arrives, the files of what came of it, and the source rows in the job's transaction.

The same picture of the same product is one row, however many workers take it in at once: the last look and the rows
are written under one lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.catalogues import get_catalogue
from shopgen_django.catalogues.base import Catalogue, Product
from shopgen_django.exceptions import PermanentError, ProductNotFound
from shopgen_django.models import DigitalSource, ImageKind, Job, ProductImage
from shopgen_django.operations.arrivals import Arrival, Incoming, Known, Outcome, Refusal, Source
from shopgen_django.operations.base import OperationContext
from shopgen_django.storage import incoming_job, private_storage, read_verified, save_bytes, source_name

from .lease import Lease, finish
from .rings import ring

logger = logging.getLogger(__name__)

PRODUCTS_PER_JOB = 50
"""Larger imports are split into jobs of so many products: a lost worker costs at most so much work."""
PARTS_YIELD = 10
"""By so much less urgent are the parts of an import than what somebody waits for in front of the screen."""

# Guards "look, then insert" on PostgreSQL; SQLite's IMMEDIATE transactions are serial already.
_SOURCE_LOCK = 0x53484F51


class FollowUp(Protocol):
    """What may happen to pictures once they are in; see :func:`when_taken_in`."""

    def __call__(self, *, job: Job, images: Sequence[str]) -> list[Refusal]: ...


_follow_up: list[FollowUp] = []


def when_taken_in(follow_up: FollowUp) -> None:
    """Let ``follow_up`` queue what ``job.params["then"]`` asks for, in the transaction that ends the job.

    Queueing is the business of services, which this layer does not know; they announce themselves here.
    """
    _follow_up[:] = [follow_up]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource:
    """One source whose file ``name`` is written and whose row is not."""

    name: str
    source: Source
    bytes: int


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What has come of the arrivals so far, in their order."""

    pictures: list[StoredSource | Known] = field(default_factory=list)
    problems: list[Refusal] = field(default_factory=list)


# -- what arrives ---------------------------------------------------------------------------------


def product_keys(job: Job, params: Mapping[str, Any], context: OperationContext) -> list[str] | None:
    """Keys of the products whose photos this job imports; None when it takes an upload in."""
    if "file" in params:
        return None
    if "products" in params:
        return [str(key) for key in params["products"]]
    if job.object_pk:
        return [job.object_pk]
    keys = []
    filters = {name: params.get(name) or None for name in ("category", "search")}
    for product in get_catalogue(job.catalogue or "default").products(**filters):
        keys.append(product.pk)
        if not len(keys) % 100:
            context.check()
            context.report(0.0, "read")
    return keys


def arrivals(
    job: Job, params: Mapping[str, Any], keys: Sequence[str] | None, report: Callable[..., None]
) -> Iterator[Incoming]:
    """What the job is to take in, one by one; ``report`` hears how far it is."""
    if keys is None:
        yield _upload(job, params)
        return
    catalogue = get_catalogue(job.catalogue or "default")
    for number, key in enumerate(keys):
        report(number / len(keys), "import")
        yield from _photos(job, catalogue, key)


def _upload(job: Job, params: Mapping[str, Any]) -> Arrival:
    product = get_catalogue(job.catalogue).get(job.object_pk) if job.object_pk else None
    return Arrival(
        item=str(params.get("name") or ""), label=str(params.get("name") or ""),
        read=partial(_read_upload, str(params["file"]), str(params["sha256"])),
        known=partial(_known_origin, job.catalogue, job.object_pk, job.created_by),
        catalogue=job.catalogue, object_pk=job.object_pk, product_label=product.title if product else "",
        category=str(params.get("category") or "") or (product.category if product else ""),
        alt_text=str(params.get("alt_text") or ""), digital_source=str(params.get("digital_source") or ""),
    )


def _read_upload(name: str, sha256: str, limit: int) -> bytes:
    try:
        with private_storage().open(name, "rb") as handle:
            return read_verified(handle, sha256, name)
    except FileNotFoundError:
        raise PermanentError(
            _("The uploaded file is no longer kept. Upload it again."), code="upload_gone"
        ) from None


def _photos(job: Job, catalogue: Catalogue, key: str) -> Iterator[Incoming]:
    """The pictures that the product has in the shop, or why there are none."""
    try:
        product = catalogue.get(key)
        pictures = catalogue.pictures(product.pk)
    except ProductNotFound as error:
        yield Refusal(item=key, label=key, code=error.code, message=str(error))
        return
    if not pictures:
        text = _("The product has no picture in the shop.")
        yield Refusal(item=product.pk, label=product.title, code="no_pictures", message=text)
    for picture in pictures:
        yield _photo(job, catalogue, product, picture.key, picture.alt_text)


def _photo(job: Job, catalogue: Catalogue, product: Product, key: str, alt_text: str) -> Arrival:
    return Arrival(
        item=product.pk, label=product.title, read=partial(_read_photo, catalogue, product.pk, key),
        known=partial(_known_origin, catalogue.alias, product.pk, job.created_by),
        catalogue=catalogue.alias, object_pk=product.pk, product_label=product.title, category=product.category,
        alt_text=alt_text,
    )


def _read_photo(catalogue: Catalogue, pk: str, key: str, limit: int) -> bytes:
    with catalogue.open_picture(pk, key) as handle:
        return handle.read(limit)


def _known_origin(alias: str, key: str, user: Any, sha256: str) -> str:
    known = known_source(alias=alias, object_pk=key, user=user, origin_sha256=sha256)
    return str(known.pk) if known is not None else ""


def known_source(*, alias: str, object_pk: str, user: Any, **hashed: str) -> ProductImage | None:
    """The stored picture with this hash (``sha256`` or ``origin_sha256``) of this product.

    None for one of a product that was deleted, of somebody whose pictures this user may not see, and for one whose
    file is gone.
    """
    rows = ProductImage.objects.sources().filter(
        catalogue=alias, object_pk=object_pk, product_deleted_at__isnull=True, **hashed
    )
    if user is not None:
        rows = rows & ProductImage.objects.visible_to(user)
    known = rows.order_by("created_at", "id").first()
    return known if known is not None and private_storage().exists(str(known.file.name)) else None


# -- what came of it ------------------------------------------------------------------------------


def gather(outcomes: Iterable[Outcome], stored: list[Any], check: Callable[[], None]) -> Gathered:
    """Write the files of what came in. ``stored`` gets each as soon as it is written, so that a lost attempt's go.

    Raises StorageFull when the disk has no room.
    """
    gathered = Gathered()
    for outcome in outcomes:
        check()
        if isinstance(outcome, Refusal):
            gathered.problems.append(outcome)
        elif isinstance(outcome, Known):
            gathered.pictures.append(outcome)
        else:
            written = store_source(outcome)
            stored.append(written)
            gathered.pictures.append(written)
    return gathered


def store_source(source: Source) -> StoredSource:
    """Write the file. Raises StorageFull."""
    name = save_bytes(source_name(source.sha256, source.format), source.data)
    return StoredSource(name=name, source=source, bytes=len(source.data))


def write_sources(lease: Lease, gathered: Gathered, measured: Mapping[str, Any]) -> bool:
    """The job's end, its source rows, and what is queued next, in one transaction.

    False: the lease is lost or the job was cancelled. Raises PermanentError when a job for one product got nothing.
    """
    job = lease.job
    if job.object_pk and gathered.problems and not gathered.pictures:
        first = gathered.problems[0]
        raise PermanentError(first.message, code=first.code)
    with transaction.atomic():
        # The fenced UPDATE comes first: it locks the row, so a sweep or a cancel waits or has already won.
        if not finish(lease, **measured):
            return False
        ids, new = record_sources(gathered.pictures, user=job.created_by, job=job)
        problems = list(gathered.problems)
        if ids and job.params.get("then"):
            for follow_up in _follow_up:
                problems += follow_up(job=job, images=ids)
        result = {
            "images": ids, "new": new, "known": len(ids) - new,
            "problems": [
                {"item": row.item, "label": row.label, "code": row.code, "message": row.message} for row in problems
            ],
        }
        Job.objects.filter(pk=job.pk).update(result=result)
    return True


def record_sources(
    pictures: Sequence[StoredSource | Known], *, user: Any, job: Job | None = None
) -> tuple[list[str], int]:
    """Rows for what is not stored yet; call it in a transaction. The ids of all, in order, and how many are new.

    A file that turns out to be one too many is removed after the commit.
    """
    _take_turns()
    ids: dict[str, None] = {}
    rows: list[ProductImage] = []
    seen: dict[tuple[str, str, str], str] = {}
    gone = _deleted_products(pictures)
    for picture in pictures:
        if isinstance(picture, Known):
            ids[picture.id] = None
            continue
        source = picture.source
        arrival = source.arrival
        place = (arrival.catalogue, arrival.object_pk, source.sha256)
        known = seen.get(place) or _known_again(source, user)
        if not known:
            row = _row(picture, job, user, len(rows), deleted=place[:2] in gone)
            rows.append(row)
            known = str(row.pk)
        else:
            transaction.on_commit(partial(_remove, picture.name), robust=True)
        seen[place] = known
        ids[known] = None
    ProductImage.objects.bulk_create(rows)
    return list(ids), len(rows)


def _known_again(source: Source, user: Any) -> str:
    arrival = source.arrival
    known = known_source(alias=arrival.catalogue, object_pk=arrival.object_pk, user=user, sha256=source.sha256)
    if known is None:
        return ""
    # The next time this file need not even be decoded.
    ProductImage.objects.filter(pk=known.pk, origin_sha256="").update(origin_sha256=source.origin_sha256)
    return str(known.pk)


def _take_turns() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_SOURCE_LOCK])


def _deleted_products(pictures: Sequence[StoredSource | Known]) -> set[tuple[str, str]]:
    """Products that were deleted since their pictures were read: what comes in now gets its tombstone at once."""
    wanted: dict[str, set[str]] = {}
    for picture in pictures:
        if isinstance(picture, StoredSource) and picture.source.arrival.object_pk:
            arrival = picture.source.arrival
            wanted.setdefault(arrival.catalogue, set()).add(arrival.object_pk)
    gone = set()
    for alias, keys in wanted.items():
        catalogue = get_catalogue(alias)
        rows = catalogue.model._base_manager.using(catalogue.database).filter(pk__in=catalogue.to_pks(keys))
        there = {str(key) for key in rows.values_list("pk", flat=True)}
        gone |= {(alias, key) for key in keys - there if not _is_there(catalogue, key)}
    return gone


def _is_there(catalogue: Catalogue, key: str) -> bool:
    """Asked once more in the catalogue's own way: an adapter may write its keys differently."""
    try:
        catalogue.get(key)
    except ProductNotFound:
        return False
    return True


def _row(picture: StoredSource, job: Job | None, user: Any, index: int, *, deleted: bool) -> ProductImage:
    source = picture.source
    arrival = source.arrival
    stated = source.digital_source
    return ProductImage(
        kind=ImageKind.SOURCE, catalogue=arrival.catalogue, object_pk=arrival.object_pk,
        content_type=_content_type(arrival.catalogue) if arrival.object_pk else None,
        product_label=arrival.product_label[:255], product_deleted_at=Now() if deleted else None,
        category=arrival.category[:100], file=picture.name, sha256=source.sha256, origin_sha256=source.origin_sha256,
        format=source.format, width=source.width, height=source.height, bytes=picture.bytes,
        alt_text=arrival.alt_text[:500],
        digital_source=stated if stated in DigitalSource.values else DigitalSource.UNKNOWN,
        created_by=user if getattr(user, "pk", None) else None, job=job, index=index,
    )


def _content_type(alias: str) -> Any:
    from django.contrib.contenttypes.models import ContentType

    return ContentType.objects.get_for_model(get_catalogue(alias).model)


def _remove(name: str) -> None:
    try:
        private_storage().delete(name)
    except OSError:
        logger.warning("The file %s could not be removed; the sweep of the files tries again.", name, exc_info=True)


# -- parts ----------------------------------------------------------------------------------------


def write_parts(lease: Lease, keys: Sequence[str], measured: Mapping[str, Any]) -> bool:
    """Queue one job for each part of the products, in this job's batch, and end this one; all in one transaction."""
    job = lease.job
    chunks = [list(keys[start : start + PRODUCTS_PER_JOB]) for start in range(0, len(keys), PRODUCTS_PER_JOB)]
    result = {"images": [], "products": len(keys), "parts": len(chunks)}
    batch = job.batch or uuid4()
    with transaction.atomic():
        if not finish(lease, batch=batch, result=result, **measured):
            return False
        parts = [part(job, chunk, batch=batch) for chunk in chunks]
        Job.objects.bulk_create(parts)
        for row in parts:
            ring(row)
    return True


def part(job: Job, keys: Sequence[str], *, batch: UUID) -> Job:
    """The row of a job that imports the photos of these products on behalf of ``job``; not saved yet."""
    return Job(
        operation=job.operation, params={**job.params, "products": list(keys)}, params_version=job.params_version,
        catalogue=job.catalogue, product_label=products_label(keys), batch=batch, queue=job.queue,
        priority=max(-32768, job.priority - PARTS_YIELD), max_attempts=job.max_attempts,
        request_sha256=job.request_sha256, created_by_id=job.created_by_id, rung_at=Now(),
    )


def products_label(keys: Sequence[str]) -> str:
    """What stands in the list of jobs where others name their product."""
    return ngettext("%(n)d product", "%(n)d products", len(keys)) % {"n": len(keys)}


# -- the end of an upload -------------------------------------------------------------------------


def remove_upload(job: Job) -> None:
    """Remove the file that came in, once nothing can come of it any more: it is stored, or it was refused for good.

    After other failures and after a cancel it stays for a while, so that the job can be tried again; see
    :mod:`shopgen_django.jobs.files`.
    """
    from shopgen_django.imaging.intake import ERROR_CODES

    name = str(job.params.get("file") or "")
    if incoming_job(name) != job.pk:
        return  # an operation of somebody else's with a parameter of that name
    row = Job.objects.filter(pk=job.pk).values("state", "error_code").first()
    if row is None or row["state"] == "succeeded" or (row["state"] == "failed" and row["error_code"] in ERROR_CODES):
        _remove(name)
