"""Writing without half files: everything goes to a temporary name in the same folder, is synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import RunLocked, StorageFull

WEIGHTS, CARD = "model.safetensors", "model.json"
"""A model's weights and all that is needed to load them."""
_CHUNK = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, on_bytes: Callable[[int], object] = lambda number: None) -> str:
    """Hex SHA-256 of a file's content. ``on_bytes`` hears each part's size; what it raises ends it."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """The same bytes for the same value: sorted keys, no spaces. Used for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" into :class:`StorageFull` with the file's name."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"No room on the disk for {path.name} in {path.parent}. What was saved before is whole; "
                "free some space and run the same command again to continue."
            ) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data`` in one step: a reader sees the old file or the new one, never a part.

    Raises:
        StorageFull: when the disk is full; the old file is untouched and no temporary file stays.
    """
    temporary = write_beside(path, data)
    with disk_errors(path):
        os.replace(temporary, path)
        sync_folder(path.parent)


def write_beside(path: Path, data: bytes) -> Path:
    """Write ``data``, synced, under a temporary name next to ``path`` and return that name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path), temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Atomic, readable JSON (numbers must be finite)."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value stored in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def link(source: Path, target: Path) -> None:
    """Give a file that is never written in place a second name, replacing ``target`` in one step; a copy if need be."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with disk_errors(target):
            try:
                os.link(source, temporary)
            except (OSError, NotImplementedError):  # no hard links here
                shutil.copyfile(source, temporary)
            os.replace(temporary, target)
            sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut (where the system allows opening a folder)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse; the rename itself has happened
        pass
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed run left behind. Call it only while holding the lock."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the output folder for this process; the system frees it when the process ends, however it ends.

    Raises:
        RunLocked: when another process holds it.
    """
    path = folder / ".lock"
    with disk_errors(path):
        handle = path.open("a+b")
    with handle:
        try:
            _lock(handle.fileno())
        except OSError:
            raise RunLocked(
                f"Another run is writing into {folder}. Wait for it, stop it, or choose another --output."
            ) from None
        yield


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
