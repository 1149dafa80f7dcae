"""What is kept for how long: ``SHOPGEN["RETENTION"]``. None for a key keeps that kind for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import ProtectedError
from django.db.models.functions import Now

from shopgen_django.conf import app_settings
from shopgen_django.jobs.files import sweep_files
from shopgen_django.models import (
    ImageKind,
    ImageState,
    Job,
    JobState,
    MetricPoint,
    ProductImage,
    RunState,
    TextState,
    TextSuggestion,
    UnreadableMessage,
    UsageEntry,
)

from .images import remove_row
from .previews import forget_previews

BATCH = 500
LONGEST_PERIOD = timedelta(days=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many rows and files of each kind went."""

    jobs: int
    images: int
    texts: int
    metric_points: int
    messages: int
    usage: int
    files: int


def apply_retention(*, dry_run: bool = False) -> Removed:
    """Delete what has been kept long enough. Safe to run at any time and twice at once.

    ``dry_run`` only counts (files without a row are not counted then). Rejected pictures that a remaining job was made
    from stay until that job goes. Withdrawn publications of a rejected picture go with it, as when a person deletes it.
    """
    jobs = _old_jobs()
    images = _old_images()
    texts = _old_texts()
    points = _old_points()
    messages = _old_messages()
    usage = _old_usage()
    if dry_run:
        return Removed(
            jobs=jobs.count(), images=images.count(), texts=texts.count(), metric_points=points.count(),
            messages=messages.count(), usage=usage.count(), files=0,
        )
    return Removed(
        jobs=_delete(jobs) + forget_previews(), images=sum(_delete_image(image) for image in _one_by_one(images)),
        texts=_delete(texts), metric_points=_delete(points), messages=_delete(messages), usage=_delete(usage),
        files=sweep_files(),
    )


def _older(field: str, key: str) -> dict[str, Any] | None:
    days = app_settings.RETENTION[key]
    return None if days is None else {f"{field}__lt": Now() - timedelta(days=float(days))}


def _old_jobs() -> models.QuerySet[Job]:
    found = Job.objects.none()
    finished, failed = _older("finished_at", "FINISHED_JOBS_DAYS"), _older("finished_at", "FAILED_JOBS_DAYS")
    if finished is not None:
        found = found | Job.objects.filter(state__in=(JobState.SUCCEEDED, JobState.CANCELLED), **finished)
    if failed is not None:
        found = found | Job.objects.filter(state=JobState.FAILED, **failed)
    return found


def _old_images() -> models.QuerySet[ProductImage]:
    limit = _older("updated_at", "REJECTED_IMAGES_DAYS")
    if limit is None:
        return ProductImage.objects.none()
    return ProductImage.objects.filter(kind=ImageKind.RESULT, state=ImageState.REJECTED, **limit)


def _old_texts() -> models.QuerySet[TextSuggestion]:
    limit = _older("updated_at", "REJECTED_IMAGES_DAYS")
    if limit is None:
        return TextSuggestion.objects.none()
    return TextSuggestion.objects.filter(state=TextState.REJECTED, **limit)


def _old_points() -> models.QuerySet[MetricPoint]:
    limit = _older("run__finished_at", "METRIC_POINTS_DAYS")
    if limit is None:
        return MetricPoint.objects.none()
    return MetricPoint.objects.filter(**limit).exclude(run__state=RunState.RUNNING)


def _old_messages() -> models.QuerySet[UnreadableMessage]:
    limit = _older("set_aside_at", "FAILED_JOBS_DAYS")
    return UnreadableMessage.objects.none() if limit is None else UnreadableMessage.objects.filter(**limit)


def _old_usage() -> models.QuerySet[UsageEntry]:
    """Never of the month that budgets still count, however few days are set."""
    limit = _older("at", "USAGE_DAYS")
    if limit is None:
        return UsageEntry.objects.none()
    return UsageEntry.objects.filter(**limit).filter(at__lt=Now() - LONGEST_PERIOD)


def _delete(rows: models.QuerySet[Any]) -> int:
    """Delete in batches, so that no transaction is long; the number of these rows (not of what hangs on them)."""
    removed = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        batch = rows.model._default_manager.filter(pk__in=keys)
        _total, by_kind = batch.delete()
        gone = by_kind.get(rows.model._meta.label, 0)
        if not gone:
            break
        removed += gone
    return removed


def _one_by_one(images: models.QuerySet[ProductImage]) -> Iterator[ProductImage]:
    after = None
    while True:
        page = images.order_by("pk") if after is None else images.order_by("pk").filter(pk__gt=after)
        batch = list(page[:BATCH])
        if not batch:
            return
        yield from batch
        after = batch[-1].pk


def _delete_image(image: ProductImage) -> int:
    try:
        with transaction.atomic():
            # Looked at once more under a lock: somebody may have sent it to review again.
            if not ProductImage.objects.filter(pk=image.pk, state=ImageState.REJECTED).select_for_update().first():
                return 0
            # Of a life before: it was published, taken back and then rejected. One that still stands protects it.
            image.publications.filter(withdrawn_at__isnull=False).delete()
            return int(remove_row(image, state=ImageState.REJECTED))
    except ProtectedError:
        return 0
