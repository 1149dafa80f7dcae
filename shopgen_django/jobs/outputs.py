"""What a job made: files first, under names of their own attempt; then all rows and the job's state at once."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django import __version__
from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import NotFound, PermanentError
from shopgen_django.models import ImageKind, ImageState, Job, Measurement, ProductImage
from shopgen_django.operations.base import Operation, Output
from shopgen_django.operations.gates import ask_gates
from shopgen_django.storage import private_storage, result_name, save_bytes

from .lease import Lease, finish

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One result whose file is written and whose row is not."""

    index: int
    name: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    alt_text: str
    category: str
    parents: tuple[str, ...]
    made_from: tuple[int, ...]
    measurements: Mapping[str, float]
    held_back: str
    digital_source: str
    facts: Mapping[str, str]


def store_output(lease: Lease, index: int, output: Output, operation: Operation) -> Stored:
    """Measure one result, ask the gates, encode it with its provenance and write its file.

    Raises StorageFull when the disk has no room.
    """
    from shopgen_django.imaging.measure import measure
    from shopgen_django.imaging.provenance import encode

    image = output.image
    measurements = {**measure(image), **output.measurements}
    odd = sorted(str(name) for name, value in measurements.items() if not math.isfinite(value))
    if odd:
        # A gate that compares with NaN lets everything pass, and no database column or JSON answer holds it.
        raise PermanentError(
            _("Measurements that are no numbers: %(names)s. The result is not used.") % {"names": ", ".join(odd)},
            code="bad_measurement",
        )
    held_back = str(output.held_back) or ask_gates(image, measurements)
    origin = _origin(lease.job, operation, output.digital_source or operation.digital_source)
    content = encode(
        image, format=output.format, digital_source_type=origin,
        software=f"shopgen-django {__version__}", extra={**output.facts, **_provenance(lease.job)},
    )
    sha256 = hashlib.sha256(content).hexdigest()
    name = save_bytes(result_name(lease.job.pk, lease.token, index, sha256, output.format), content)
    return Stored(
        index=index, name=name, sha256=sha256, format=output.format, width=image.width, height=image.height,
        bytes=len(content), alt_text=str(output.alt_text), category=output.category, parents=output.parents,
        made_from=output.made_from, measurements=measurements, held_back=held_back, digital_source=origin,
        facts=dict(output.facts),
    )


def _origin(job: Job, operation: Operation, own: str) -> str:
    """IPTC code of the results: what was generated stays marked when it is cropped or mended later."""
    from shopgen_django.imaging.provenance import inherited_source_type

    if not operation.max_inputs:
        return own
    return inherited_source_type(own, job.job_inputs.values_list("image__digital_source", flat=True))


def _provenance(job: Job) -> dict[str, str]:
    facts = {"job": str(job.pk), "operation": job.operation}
    if job.model_version is not None:
        facts["model"] = str(job.model_version)
        facts["model_sha256"] = job.model_version.weights_sha256
    return facts


def write_results(
    lease: Lease, results: Sequence[Stored], *, operation: Operation, params: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> bool:
    """Job state, pictures, measurements and lineage in one transaction, or nothing.

    False: the lease is lost or the job was cancelled.
    """
    if not results:
        return finish(lease, **measured)
    product = product_columns(lease.job)
    # Inherited at once, so that it does not depend on the photo's row being kept.
    product["personal"] = lease.job.job_inputs.filter(image__personal=True).exists()
    inputs = _input_ids(lease.job, operation)
    images = [_row(lease.job, stored, operation, params, product) for stored in results]
    measurements = [
        Measurement(image=image, name=str(name)[:64], value=float(value))
        for image, stored in zip(images, results, strict=True)
        for name, value in stored.measurements.items()
    ]
    through = ProductImage.parents.through
    lineage = [
        through(from_productimage_id=image.pk, to_productimage_id=parent)
        for image, stored in zip(images, results, strict=True)
        for parent in _parents(stored, images, inputs)
    ]
    with transaction.atomic():
        # The fenced UPDATE comes first: it locks the row, so a sweep or a cancel waits or has already won.
        if not finish(lease, **measured):
            return False
        ProductImage.objects.bulk_create(images)
        if measurements:
            Measurement.objects.bulk_create(measurements)
        if lineage:
            through.objects.bulk_create(lineage)
    return True


def _parents(stored: Stored, images: Sequence[ProductImage], inputs: Sequence[str]) -> list[str]:
    """What a result was made from: pictures that the operation named, results before it, else the job's inputs."""
    earlier = [str(images[number].pk) for number in stored.made_from]
    return list(dict.fromkeys([*stored.parents, *earlier] or inputs))


def remove_unrecorded(names: Iterable[str]) -> None:
    """Delete files of an attempt that did not win. A file that a row points to stays."""
    names = list(names)
    if not names:
        return
    recorded = set(ProductImage.objects.filter(file__in=names).values_list("file", flat=True))
    storage = private_storage()
    for name in names:
        if name in recorded:
            continue
        try:
            storage.delete(name)
        except OSError:
            logger.warning("The file %s of a lost attempt could not be removed; the sweeper tries again.", name)


def _input_ids(job: Job, operation: Operation) -> tuple[str, ...]:
    if not operation.max_inputs:
        return ()
    return tuple(str(key) for key in job.job_inputs.order_by("position").values_list("image_id", flat=True))


def product_columns(job: Job) -> dict[str, Any]:
    """The product that the results belong to; one that was deleted meanwhile leaves its tombstone on them as well."""
    if not (job.catalogue and job.object_pk):
        return {"catalogue": "", "object_pk": "", "content_type": None}
    from django.contrib.contenttypes.models import ContentType

    catalogue = get_catalogue(job.catalogue)
    columns: dict[str, Any] = {
        "catalogue": job.catalogue,
        "object_pk": job.object_pk,
        "content_type": ContentType.objects.get_for_model(catalogue.model),
    }
    try:
        catalogue.get(job.object_pk)
    except NotFound:
        columns["product_deleted_at"] = Now()
    return columns


def _row(
    job: Job, stored: Stored, operation: Operation, params: Mapping[str, Any], product: Mapping[str, Any]
) -> ProductImage:
    approved = not stored.held_back and not app_settings.REVIEW["REQUIRE_APPROVAL"]
    if stored.held_back:
        state = ImageState.DRAFT
    else:
        state = ImageState.APPROVED if approved else ImageState.IN_REVIEW
    return ProductImage(
        kind=ImageKind.RESULT, state=state, approved_at=Now() if approved else None,
        gate_reason=stored.held_back[:500], product_label=job.product_label, category=stored.category[:100],
        file=stored.name, sha256=stored.sha256, format=stored.format, width=stored.width, height=stored.height,
        bytes=stored.bytes, alt_text=(stored.alt_text or job.product_label or _("Picture"))[:500],
        digital_source=stored.digital_source, job=job, index=stored.index, model_version=job.model_version,
        operation=job.operation, params={**params, "made_with": dict(stored.facts)} if stored.facts else dict(params),
        created_by_id=job.created_by_id, **product,
    )
