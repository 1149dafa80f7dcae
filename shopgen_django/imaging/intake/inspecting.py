"""Look at a picture file without decoding it: what the web request does with an upload."""

from __future__ import annotations

import hashlib
import io
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from shopgen_django.imaging.provenance import DIGITAL_SOURCE_TYPES, read_provenance

from .contracts import Inspection, IntakeError, IntakeLimits, Source
from .structure import Structure, check_size, corrupt, read_structure

__all__ = ["inspect", "inspect_bytes", "open_image", "read_source"]

CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def inspect(
    source: Source, limits: IntakeLimits | None = None, *, name: str = "", declared_type: str = ""
) -> Inspection:
    """Decide whether a file may be taken, without decoding it.

    Reads at most ``limits.max_bytes`` + 1 bytes from ``source`` (bytes, a binary file at its current position, which a
    seekable file gets back, or a path), finds the format by content, walks its structure and lets Pillow read the
    header. ``name`` and ``declared_type`` (a MIME type) never decide anything; when they promise another format the
    result carries the warning ``type_mismatch``. Needs neither NumPy nor OpenCV. Raises :class:`IntakeError`; only
    reading ``source`` itself can raise ``OSError``.
    """
    limits = limits or IntakeLimits()
    return inspect_bytes(read_source(source, limits), limits, name=name, declared_type=declared_type)[0]


def read_source(source: Source, limits: IntakeLimits) -> bytes:
    """The bytes of ``source``; raises IntakeError ``too_large`` after reading one byte more than is allowed."""
    wanted = limits.max_bytes + 1
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, (str, PathLike)):
        with Path(source).open("rb") as file:
            data = file.read(wanted)
    else:
        start = source.tell() if source.seekable() else None
        data = _read(source, wanted)
        if start is not None:
            source.seek(start)
    if len(data) > limits.max_bytes:
        raise IntakeError("too_large", f"The file is larger than {limits.max_bytes / 2**20:g} MiB.")
    return data


def _read(file: Any, wanted: int) -> bytes:
    """Read until ``wanted`` bytes or the end; a raw socket or pipe may hand out less per call."""
    parts: list[bytes] = []
    while wanted > 0 and (part := file.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def inspect_bytes(
    data: bytes, limits: IntakeLimits, *, name: str = "", declared_type: str = ""
) -> tuple[Inspection, Structure]:
    """As :func:`inspect` for bytes within the size limit; also returns the walked structure."""
    structure = read_structure(data, limits)
    with open_image(structure, b"".join(structure.head)) as image:
        if image.size != (structure.width, structure.height):
            raise corrupt("states two different sizes")
        check_size(*image.size, limits)
        if getattr(image, "n_frames", 1) != 1:
            raise IntakeError("animated", "The file holds more than one picture.")
    warnings = []
    if min(structure.width, structure.height) < limits.small_side:
        warnings.append("small")
    promised = _SUFFIXES.get(PurePath(name).suffix.lower(), "other") if PurePath(name).suffix else structure.format
    declared = declared_type.partition(";")[0].strip().lower() or CONTENT_TYPES[structure.format]
    if promised != structure.format or declared != CONTENT_TYPES[structure.format]:
        warnings.append("type_mismatch")
    inspection = Inspection(
        format=structure.format,
        width=structure.width,
        height=structure.height,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_type=CONTENT_TYPES[structure.format],
        digital_source_type=_declared_source(data),
        warnings=tuple(warnings),
    )
    return inspection, structure


def _declared_source(data: bytes) -> str:
    term = read_provenance(data).get("digital_source_type", "").rpartition("/")[2]
    return term if term in DIGITAL_SOURCE_TYPES else ""


def open_image(structure: Structure, stream: bytes) -> Image.Image:
    """Let Pillow read the header of a walked file, by the plugin of that one format; raises IntakeError.

    The size has been checked against our own limits already, so Pillow's warning about decompression bombs, which
    cannot be turned into an error without touching the filters of all threads, is not relied on.
    """
    try:
        return Image.open(io.BytesIO(stream), formats=(structure.format,))
    except MemoryError:
        raise
    except Exception as error:
        # Whatever a parser raises on hostile bytes (struct.error, KeyError, ...) means the same to the sender.
        raise corrupt("is damaged and cannot be read") from error
