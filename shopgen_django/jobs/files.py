"""Files that no row points to: of attempts that did not win, and of processes that died between file and row."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.core.files.storage import Storage
from django.utils import timezone

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import StorageUnavailable
from shopgen_django.models import Job, ProductImage
from shopgen_django.storage import attempt_prefix, incoming_job, private_storage

logger = logging.getLogger(__name__)

FOLDERS = ("results", "sources", "incoming", "previews")
OUR_NAME = re.compile(
    r"incoming/[0-9a-f]{2}/\.?[0-9a-f-]{36}-[0-9a-f]{64}\.[^/]+|"
    r"previews/\.?[0-9a-f]{32}\.[^/]+|"
    r"sources/[0-9a-f]{2}/\.?[0-9a-f]{64}-[0-9a-f]{8}\.[^/]+|results/[^/]+/\d+/\.?\d{3,}-[0-9a-f]{64}\.[^/]+"
)
"""What our own files are called. A shop may lend us a storage that it uses itself: other files are none of ours."""
_BATCH = 500


def remove_attempt_files(job_id: UUID, attempt: int) -> int:
    """Remove what an attempt that can't win any more has written; files that a row points to stay."""
    storage = private_storage()
    try:
        names = list(_walk(storage, attempt_prefix(job_id, attempt)))
    except StorageUnavailable:
        # Whoever gives the job to another worker must not wait for the storage.
        logger.warning("Files of job %s, attempt %d were left to the sweep.", job_id, attempt, exc_info=True)
        return 0
    return _remove_unrecorded(storage, names)


def sweep_files() -> int:
    """Remove files older than ``ORPHAN_FILES_HOURS`` that no row points to; returns how many.

    Reads the folders of all results: meant for once an hour, not for every sweep.
    """
    hours = app_settings.RETENTION["ORPHAN_FILES_HOURS"]
    if hours is None:
        return 0
    storage = private_storage()
    limit = timezone.now() - timedelta(hours=float(hours))
    removed, batch = 0, []
    for folder in FOLDERS:
        for name in _walk(storage, folder):
            if not OUR_NAME.fullmatch(name):
                continue
            batch.append(name)
            if len(batch) >= _BATCH:
                removed += _remove_old(storage, batch, limit)
                batch = []
    return removed + _remove_old(storage, batch, limit)


def _remove_old(storage: Storage, names: list[str], limit: object) -> int:
    recorded = _recorded(names)
    old = []
    for name in names:
        if name in recorded:
            continue
        try:
            if storage.get_modified_time(name) < limit:  # type: ignore[operator]
                old.append(name)
        except FileNotFoundError:
            continue
    return _remove_unrecorded(storage, old)


def _remove_unrecorded(storage: Storage, names: list[str]) -> int:
    recorded = _recorded(names)
    removed = 0
    for name in names:
        if name in recorded:
            continue
        try:
            storage.delete(name)
            removed += 1
        except OSError:
            logger.warning("The file %s could not be removed; the next sweep tries again.", name, exc_info=True)
    return removed


def _recorded(names: list[str]) -> set[str]:
    if not names:
        return set()
    return set(ProductImage.objects.filter(file__in=names).values_list("file", flat=True)) | _awaited(names)


def _awaited(names: list[str]) -> set[str]:
    """Uploads whose job waits or runs. Once it has ended in failure they are kept only as long as any orphan."""
    jobs = {name: job for name in names if (job := incoming_job(name)) is not None}
    if not jobs:
        return set()
    active = set(Job.objects.active().filter(pk__in=jobs.values()).values_list("pk", flat=True))
    return {name for name, job in jobs.items() if job in active}


def _walk(storage: Storage, folder: str) -> Iterator[str]:
    """Every file under ``folder``; a storage that can't list has nothing to sweep."""
    try:
        folders, files = storage.listdir(folder)
    except (FileNotFoundError, NotADirectoryError, NotImplementedError):
        return
    for name in files:
        yield f"{folder}/{name}"
    for name in folders:
        yield from _walk(storage, f"{folder}/{name}")
