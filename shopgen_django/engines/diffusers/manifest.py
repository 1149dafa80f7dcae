"""Which files a model consists of, by hash, and under which licence: ``shopgen.json`` beside ``model_index.json``."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import LicenceRefused, ModelCorrupt
from shopgen_django.exceptions import JobCancelled
from shopgen_django.ml.files import sha256_file, write_bytes

from .folder import MANIFEST, files_of, shown

_LOOK_EVERY = 0.5
"""Seconds between two looks at whether to go on, however large a file is."""


def _untold(share: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``files``: path inside the folder -> SHA-256; ``sha256``: of all of them (:func:`digest_of`);
    ``added_at``: ISO 8601 in UTC, "" in manifests of earlier versions."""

    licence: str = ""
    commercial: bool = True
    source: str = ""
    base: str = ""
    added_at: str = ""
    sha256: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def read_manifest(folder: Path) -> Manifest | None:
    """``None`` where there is none. Raises ModelCorrupt for one that can't be read."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in value["files"].items()}
        return Manifest(
            licence=str(value.get("licence") or ""), commercial=value.get("commercial", True) is True,
            source=str(value.get("source") or ""), base=str(value.get("base") or ""),
            added_at=str(value.get("added_at") or ""), sha256=digest_of(files), files=files,
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelCorrupt(_("%(path)s can't be read: %(why)s.") % {"path": shown(path), "why": why}) from error


def write_manifest(
    folder: Path, *, licence: str, commercial: bool, source: str = "", base: str = "", threads: int = 1,
    check: Callable[[], None] = lambda: None, report: Callable[[float], None] = _untold,
) -> Manifest:
    """Hash a model's files as they are now and write that down beside them; later loads insist on it.

    ``check`` and ``report`` as for :func:`hash_files`. Raises ModelCorrupt for a file that can't be read, OSError when
    the folder can't be written to.
    """
    files = hash_files(folder, threads=threads, check=check, report=report)
    manifest = Manifest(
        licence=licence, commercial=commercial, source=source, base=base, sha256=digest_of(files), files=files,
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    text = json.dumps(
        {"licence": licence, "commercial": commercial, "source": source, "base": base, "sha256": manifest.sha256,
         "added_at": manifest.added_at, "files": files},
        indent=2, sort_keys=True,
    )
    write_bytes(folder / MANIFEST, (text + "\n").encode())
    return manifest


def verified(
    folder: Path, manifest: Manifest | None, *, threads: int = 1, expected: str = "",
    check: Callable[[], None] = lambda: None, report: Callable[[float], None] = _untold,
) -> str:
    """Hash every file and give the digest of all; ``check`` and ``report`` as for :func:`hash_files`.

    Raises ModelCorrupt when a file is not the one of the manifest, is missing or was added, or when the digest is not
    ``expected`` ("" for none).
    """
    found = hash_files(folder, threads=threads, check=check, report=report)
    if manifest is not None and dict(manifest.files) != found:
        changed = sorted(
            name for name in {*manifest.files, *found} if manifest.files.get(name) != found.get(name)
        )
        raise ModelCorrupt(
            _("%(path)s is not the model that was added: changed, missing or new are %(names)s. Put the files back, or "
              "add the model anew.") % {"path": shown(folder), "names": ", ".join(changed[:5])}
        )
    digest = digest_of(found)
    if expected and digest != expected.lower():
        raise ModelCorrupt(
            _("%(path)s has the SHA-256 %(found)s; the setting SHA256 says %(expected)s.")
            % {"path": shown(folder), "found": digest, "expected": expected}
        )
    return digest


def require_licence(manifest: Manifest | None, folder: Path, *, noncommercial: bool) -> None:
    """Raises LicenceRefused for a model whose manifest forbids commercial use, unless that is allowed."""
    if manifest is not None and not manifest.commercial and not noncommercial:
        raise LicenceRefused(
            _("The licence of %(path)s (%(licence)s) forbids commercial use. Set SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS'] "
              "if that is what you want.") % {"path": shown(folder), "licence": manifest.licence or "?"}
        )


def hash_files(
    folder: Path, *, threads: int = 1, check: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = _untold,
) -> dict[str, str]:
    """SHA-256 of each file that is read; several at once, since hashing lets other threads run.

    ``check`` is called after each file and every half second; what it raises ends the work within a block.
    ``report`` hears the share of the bytes that is done, 0..1. Raises ModelCorrupt for a file that can't be read.
    """
    paths = files_of(folder)
    counted = _Counted(sum(path.stat().st_size for path in paths))
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        hashing = {pool.submit(sha256_file, path, counted.add): path for path in paths}
        pending = set(hashing)
        try:
            while pending:
                done, pending = wait(pending, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
                for future in done:
                    _read(future.result, hashing[future])
                    check()
                if not done:
                    check()
                report(counted.share)
        except BaseException:
            counted.stopped = True
            raise
    return {path.relative_to(folder).as_posix(): future.result() for future, path in hashing.items()}


class _Counted:
    """Bytes that several threads have read, and the word to stop."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = max(1, total), 0, threading.Lock()
        self.stopped = False

    @property
    def share(self) -> float:
        return min(1.0, self._done / self._total)

    def add(self, number: int) -> None:
        if self.stopped:
            raise JobCancelled
        with self._lock:
            self._done += number


def _read(result: Callable[[], str], path: Path) -> None:
    try:
        result()
    except OSError as error:
        raise ModelCorrupt(
            _("%(path)s can't be read: %(why)s.") % {"path": shown(path), "why": error.strerror or error}
        ) from error


def digest_of(files: Mapping[str, str]) -> str:
    """One SHA-256 for a set of files: of their sorted lines "path, NUL, digest, newline"."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def fingerprint(folder: Path) -> str:
    """Changes when a file is written anew (name, size, time): cheap, for caches; no proof of anything."""
    lines = []
    for path in [*files_of(folder), folder / MANIFEST]:
        try:
            seen = path.stat()
        except OSError:
            continue
        lines.append(f"{path.relative_to(folder).as_posix()}\0{seen.st_size}\0{seen.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
