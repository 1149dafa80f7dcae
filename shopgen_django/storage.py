"""Where shopgen's private files lie, and how they get there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from pathlib import Path
from typing import IO

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.utils.translation import gettext as _

from .conf import app_settings
from .exceptions import FileMissing, StorageFull

EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


def private_storage() -> Storage:
    """The storage of ``SHOPGEN["STORAGE"]``, or a folder under ``SHOPGEN["ROOT"]`` with no public address.

    Raises ``InvalidStorageError`` when the alias exists and its backend can't be used: files must not go elsewhere.
    """
    if app_settings.STORAGE not in storages.backends:
        return PrivateFileSystemStorage()
    return storages[app_settings.STORAGE]


class PrivateFileSystemStorage(FileSystemStorage):
    """Files under the app's own folder, never under MEDIA_ROOT: unreviewed pictures have no public address."""

    def __init__(self) -> None:
        super().__init__(file_permissions_mode=0o640)

    # Asked each time: a model's field keeps the storage that it was given when the models were loaded.
    @property
    def base_location(self) -> str:
        return str(app_settings.root / "files")

    @property
    def location(self) -> str:
        return str(Path(self.base_location).absolute())

    @property
    def base_url(self) -> None:  # type: ignore[override]
        """None: ``url()`` raises instead of naming an address under MEDIA_URL."""
        return None

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        return "shopgen_django.storage.PrivateFileSystemStorage", [], {}


def source_name(sha256: str, image_format: str) -> str:
    """Name of an imported photo: by content, with a tail of its own so that no two rows share a file."""
    return f"sources/{sha256[:2]}/{sha256}-{uuid.uuid4().hex[:8]}.{EXTENSIONS[image_format]}"


def incoming_name(job_id: uuid.UUID, sha256: str) -> str:
    """Name of an upload, as it came, until the job ``job_id`` has taken it in. Nothing of what the sender called it."""
    return f"incoming/{str(job_id)[:2]}/{job_id}-{sha256}.upload"


def incoming_job(name: str) -> uuid.UUID | None:
    """The job that an upload's name stands for; None for other names."""
    folder, _slash, file = name.rpartition("/")
    if not folder.startswith("incoming/"):
        return None
    try:
        return uuid.UUID(file.lstrip(".")[:36])
    except ValueError:
        return None


def attempt_prefix(job_id: uuid.UUID | str, attempt: int) -> str:
    """Folder of the files of one attempt; the loser's folder is removed."""
    return f"results/{job_id}/{attempt}"


def result_name(job_id: uuid.UUID | str, attempt: int, index: int, sha256: str, image_format: str) -> str:
    """Name of a result: attempt, number within the job and content."""
    return f"{attempt_prefix(job_id, attempt)}/{index:03d}-{sha256}.{EXTENSIONS[image_format]}"


def save_bytes(name: str, content: bytes, storage: Storage | None = None) -> str:
    """Write ``content`` under ``name``; a write that fails leaves nothing behind.

    Raises :class:`StorageFull` when the disk has no room.
    """
    storage = storage or private_storage()
    if isinstance(storage, FileSystemStorage):
        return _save_to_disk(name, content, storage)
    return storage.save(name, ContentFile(content))


def _save_to_disk(name: str, content: bytes, storage: FileSystemStorage) -> str:
    """Beside the target first, then renamed: a killed process leaves no half file under the real name."""
    target = Path(storage.path(name))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        if storage.file_permissions_mode is not None:
            temporary.chmod(storage.file_permissions_mode)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                _("The disk is full: %(name)s could not be written. Make room, then try again.")
                % {"name": name}
            ) from error
        raise
    return name


def read_verified(handle: IO[bytes], sha256: str, name: str) -> bytes:
    """All bytes of ``handle``, refused when their SHA-256 differs from what was recorded.

    Raises :class:`FileMissing`.
    """
    content = handle.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise FileMissing(
            _("The stored file %(name)s was changed after it was recorded (SHA-256 differs); it is not used.")
            % {"name": name}
        )
    return content


def read_image(image: object) -> bytes:
    """The verified bytes of a ProductImage's file. Raises :class:`FileMissing`."""
    name = str(image.file.name)  # type: ignore[attr-defined]
    try:
        with image.file.storage.open(name, "rb") as handle:  # type: ignore[attr-defined]
            return read_verified(handle, image.sha256, name)  # type: ignore[attr-defined]
    except FileNotFoundError as error:
        raise FileMissing(
            _("The stored file %(name)s is missing. Restore it from a backup, or delete the picture.")
            % {"name": name}
        ) from error
