"""The files of trained models, on every host that works with them.

A version is registered on the host that trained it, and its folder lies there. When the private files lie in a storage
that is served to several hosts (S3 and its like), what a version needs to run and to be shown is put there too, and
another host fetches it once, into ``ROOT/versions``. Hosts whose private files are a folder share ``ROOT`` itself, and
nothing is copied.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.files.base import File
from django.utils import timezone
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import FileMissing, StorageFull, StorageUnavailable
from shopgen_django.models import ModelVersion, TrainingRun
from shopgen_django.storage import DISK_FULL, ServedStorage, private_storage

logger = logging.getLogger(__name__)

WEIGHTS, DESCRIPTION, MANIFEST = "model.safetensors", "model.json", "dataset.json"
ONNX_WEIGHTS, ONNX_RUNTIME = "model.onnx", "onnxruntime"
LORA_WEIGHTS, LORA_KIND = "pytorch_lora_weights.safetensors", "lora"
REPORT, SHEET = "report.html", "samples.png"
FOLDER, RUNS = "versions", "runs"
STALE_SECONDS = 86_400.0


def weights_file(config: dict[str, Any]) -> str:
    """Name of the file that holds the weights of a model with this description."""
    if config.get("kind") == LORA_KIND:
        return LORA_WEIGHTS
    return ONNX_WEIGHTS if config.get("runtime") == ONNX_RUNTIME else WEIGHTS


def local_folder(version: ModelVersion) -> Path:
    """A folder on this host with the version's files; they are fetched when they lie on another host.

    Raises StorageFull; FileMissing when the stored weights differ from the registered ones; StorageUnavailable also
    while they are not in the storage, or not whole: the host that has them puts them there, if not at once then soon.
    """
    registered = Path(version.folder)
    storage = _served()
    if storage is None or _holds(registered, version):
        return registered
    fetched = app_settings.root / FOLDER / str(version.pk)
    if _holds(fetched, version):
        return fetched
    if not _is_whole(storage, version):
        raise StorageUnavailable(
            _("The files of %(name)s are not here (%(folder)s) and not in the storage yet. A worker on the host that "
              "has them puts them there within the hour.") % {"name": version, "folder": version.folder}
        )
    _fetch(storage, version, fetched)
    return fetched


def share(version: ModelVersion) -> bool:
    """Put the version's files where other hosts find them; False when there is nothing to do.

    The weights go last: where they are, all is. Raises StorageUnavailable.
    """
    storage, folder, weights = _served(), Path(version.folder), weights_file(version.config)
    if storage is None or not _holds(folder, version) or _is_whole(storage, version):
        return False
    for name in (DESCRIPTION, MANIFEST):
        if (folder / name).is_file():
            _put(storage, _key(version, name), folder / name)
    share_pictures(version, folder)
    _put(storage, _key(version, weights), folder / weights)
    return True


def share_pictures(version: ModelVersion, folder: Path) -> None:
    """The newest sheet of samples and the report in ``folder``, for pages on other hosts. Raises StorageUnavailable."""
    storage = _served()
    if storage is None:
        return
    sheets = sorted((folder / "samples").glob("*.png"))
    for name, path in ((SHEET, sheets[-1] if sheets else None), (REPORT, folder / REPORT)):
        if path is not None and path.is_file():
            _put(storage, _key(version, name), path)


def share_sample(run: TrainingRun, path: Path) -> None:
    """The newest sheet of a run that is trained here, for its page on other hosts. Raises StorageUnavailable."""
    storage = _served()
    if storage is not None:
        _put(storage, f"{RUNS}/{run.pk}/{SHEET}", path)


def shared(of: ModelVersion | TrainingRun, name: str) -> bytes | None:
    """What another host has shared of a version or run; None when there is nothing. Raises StorageUnavailable."""
    storage = _served()
    if storage is None:
        return None
    try:
        with storage.open(_key(of, name), "rb") as handle:
            return bytes(handle.read())
    except FileNotFoundError:
        return None


def is_shared(of: ModelVersion | TrainingRun, name: str) -> bool:
    """Whether :func:`shared` has an answer; False also while the storage is away, since a page can do without."""
    storage = _served()
    try:
        return storage is not None and storage.exists(_key(of, name))
    except OSError:
        logger.warning("The storage could not be asked for %s of %s.", name, of, exc_info=True)
        return False


def tidy_versions() -> int:
    """Share what could not be shared when it was registered, and remove files of versions and runs that are gone.

    As every orphan, files in the storage stay for ``ORPHAN_FILES_HOURS``. Returns how many versions were shared. Raises
    StorageUnavailable.
    """
    storage = _served()
    if storage is None:
        return 0
    done = 0
    for version in ModelVersion.objects.order_by("pk"):
        with _left_for_later(str(version)):
            done += share(version)
    hours = app_settings.RETENTION["ORPHAN_FILES_HOURS"]
    for folder, model in ((FOLDER, ModelVersion), (RUNS, TrainingRun)) if hours is not None else ():
        limit = timezone.now() - timedelta(hours=float(hours))
        for key in _gone(_folders(storage, folder), model):
            with _left_for_later(f"{folder}/{key}"):
                names = [f"{folder}/{key}/{name}" for name in storage.listdir(f"{folder}/{key}")[1]]
                for name in names if all(storage.get_modified_time(name) < limit for name in names) else ():
                    storage.delete(name)
    here = app_settings.root / FOLDER
    if here.is_dir():
        for key in _gone([path.name for path in here.iterdir()], ModelVersion):
            shutil.rmtree(here / key, ignore_errors=True)
        for left in here.glob(".*.tmp"):  # of a process that was killed while it fetched
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    return done


@contextmanager
def _left_for_later(what: str) -> Iterator[None]:
    """One that can't be dealt with now keeps no other from it."""
    try:
        yield
    except OSError:
        logger.warning("%s is left for the next time.", what, exc_info=True)


def _is_whole(storage: ServedStorage, version: ModelVersion) -> bool:
    """Whether the weights lie in the storage with all their bytes: not every storage writes whole files only."""
    try:
        return storage.size(_key(version, weights_file(version.config))) == version.weights_bytes
    except FileNotFoundError:
        return False


def _served() -> ServedStorage | None:
    storage = private_storage()
    return storage if isinstance(storage, ServedStorage) else None


def _key(of: ModelVersion | TrainingRun, name: str) -> str:
    return f"{FOLDER if isinstance(of, ModelVersion) else RUNS}/{of.pk}/{name}"


def _put(storage: ServedStorage, key: str, path: Path) -> None:
    # Some storages give a taken name another ending instead of writing over it.
    if storage.exists(key):
        storage.delete(key)
    with path.open("rb") as handle:
        storage.save(key, File(handle, name=path.name))


def _holds(folder: Path, version: ModelVersion) -> bool:
    """Whether the registered weights lie in ``folder``. Another host may have other files under the same path."""
    path = folder / weights_file(version.config)
    try:
        told = path.stat()
        if told.st_size != version.weights_bytes:
            return False
        return _sha256(path, told.st_size, told.st_mtime_ns, told.st_ino) == version.weights_sha256
    except OSError:
        return False


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime: int, inode: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fetch(storage: ServedStorage, version: ModelVersion, target: Path) -> None:
    """All files beside ``target`` first, then renamed: another process of this host sees all of them or none."""
    weights = weights_file(version.config)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        beside.mkdir(parents=True)
        for name in (weights, DESCRIPTION, MANIFEST):
            try:
                with storage.open(_key(version, name), "rb") as source, (beside / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            except FileNotFoundError:
                if name != MANIFEST:  # not every trainer writes one
                    raise
        if not _holds(beside, version):
            raise FileMissing(
                _("The stored weights of %(name)s differ from those that were registered; they are not used.")
                % {"name": version}
            )
        if target.exists() and not _holds(target, version):
            shutil.rmtree(target, ignore_errors=True)
        try:
            beside.rename(target)
        except OSError:
            if not _holds(target, version):  # else another process was faster
                raise
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFull(
                _("The disk is full: the files of %(name)s could not be fetched. Make room, then try again.")
                % {"name": version}
            ) from error
        if isinstance(error, StorageUnavailable):
            raise
        raise StorageUnavailable(
            _("The files of %(name)s can't be kept in %(folder)s: %(why)s.")
            % {"name": version, "folder": target.parent, "why": error.strerror or error}
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _folders(storage: ServedStorage, folder: str) -> list[str]:
    try:
        return storage.listdir(folder)[0]
    except FileNotFoundError:
        return []


def _gone(keys: list[str], model: type[ModelVersion] | type[TrainingRun]) -> list[str]:
    """Those of ``keys`` that are ids of no row; what is no id is none of ours."""
    ours = [key for key in keys if _is_id(key)]
    known = {str(pk) for pk in model._default_manager.filter(pk__in=ours).values_list("pk", flat=True)}
    return [key for key in ours if key not in known]


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
