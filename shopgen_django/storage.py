"""Where shopgen's private files lie, and how they get there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.utils.translation import gettext as _

from .conf import app_settings
from .exceptions import FileMissing, ShopgenError, StorageFull, StorageUnavailable

EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_MEMORY = 8 * 1024 * 1024


def private_storage() -> Storage:
    """The storage of ``SHOPGEN["STORAGE"]``, or a folder under ``SHOPGEN["ROOT"]`` with no public address.

    Raises ``InvalidStorageError`` when the alias exists and its backend can't be used: files must not go elsewhere.
    """
    if app_settings.STORAGE not in storages.backends:
        return PrivateFileSystemStorage()
    storage = storages[app_settings.STORAGE]
    return storage if isinstance(storage, FileSystemStorage) else ServedStorage(storage)


class ServedStorage(Storage):
    """A storage behind a network (S3 and its like), whose faults are told in our words.

    Each library raises errors of its own, which nothing here could tell from a fault of ours: all of them become
    :class:`StorageUnavailable`, so that a job waits and tries again. A file is read to its end when it is opened, since
    such storages fetch while one reads.
    """

    def __init__(self, behind: Storage) -> None:
        self.behind = behind

    def _open(self, name: str, mode: str = "rb") -> File:
        if mode != "rb":
            raise ValueError("Files of a served storage are written by save().")
        copy = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            with reached(name), self.behind.open(name, "rb") as handle:
                for chunk in handle.chunks():
                    copy.write(chunk)
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return File(copy, name)

    def _save(self, name: str, content: File) -> str:
        with reached(name):
            return str(self.behind.save(name, content))

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """``name``: the storage behind decides in :meth:`_save`, in one go."""
        return name

    def delete(self, name: str) -> None:
        with reached(name):
            self.behind.delete(name)

    def exists(self, name: str) -> bool:
        with reached(name):
            return bool(self.behind.exists(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        with reached(path):
            folders, files = self.behind.listdir(path)
            return list(folders), list(files)

    def size(self, name: str) -> int:
        with reached(name):
            return int(self.behind.size(name))

    def get_modified_time(self, name: str) -> datetime:
        with reached(name):
            return self.behind.get_modified_time(name)

    def url(self, name: str | None) -> str:
        """Raises NotImplementedError: private files have no address."""
        raise NotImplementedError("Files of shopgen are private and have no address.")


@contextmanager
def reached(name: str) -> Iterator[None]:
    """Turns what a library of a storage raises into StorageUnavailable; what Python, Django and we raise stays."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, NotImplementedError, SuspiciousOperation, ShopgenError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise  # of this machine: what is fetched lies on its disk for a moment
        if _says_missing(error):
            raise FileNotFoundError(name) from error
        raise StorageUnavailable(
            _("The storage of the pictures could not be used (%(name)s): %(why)s")
            % {"name": name, "why": _first(error)}
        ) from error


def _says_missing(error: Exception) -> bool:
    """Whether it is botocore's answer "404 of this key", which some calls of its storage let through."""
    answer: Any = getattr(error, "response", None)
    told = answer.get("Error", {}) if isinstance(answer, dict) else {}
    return str(told.get("Code")) in {"404", "NoSuchKey", "NotFound"}


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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
        if error.errno in DISK_FULL:
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
