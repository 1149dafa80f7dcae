"""What the intake takes and gives: limits, results and the one exception."""

from __future__ import annotations

from dataclasses import dataclass, fields
from os import PathLike
from typing import BinaryIO, Final

__all__ = ["ERROR_CODES", "Inspection", "IntakeError", "IntakeLimits", "NormalisedImage", "Source"]

Source = bytes | BinaryIO | str | PathLike[str]
"""Bytes, a file opened for reading in binary mode, or a path."""

ERROR_CODES: Final[dict[str, str]] = {
    "empty": "Choose a file that holds a picture.",
    "unsupported_type": "Save the picture as JPEG, PNG or WebP and send it again.",
    "heic_not_supported": "On an iPhone: Settings, Camera, Formats, Most Compatible; or export the photo as JPEG.",
    "animated": "Send a single still picture.",
    "too_many_pixels": "Make the picture smaller and send it again.",
    "too_many_scans": "Save the picture again as an ordinary JPEG (not progressive).",
    "too_many_chunks": "Save the picture again with an ordinary image program.",
    "too_small": "Send a larger picture; 800 pixels or more on the shorter side look good in a shop.",
    "too_large": "Send a smaller file, for instance a JPEG at quality 90.",
    "corrupt": "The file is damaged or was cut off on its way. Export the picture again and send that file.",
    "decode_limit": "Make the picture smaller or save it again with an ordinary image program.",
}
"""Every code an :class:`IntakeError` can have, with its default hint."""


class IntakeError(Exception):
    """A file was refused. ``code`` is stable, ``message`` says what was wrong, ``hint`` what to do about it."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        if code not in ERROR_CODES:
            raise ValueError(f"{code!r} is not an intake error code.")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = ERROR_CODES[code] if hint is None else hint

    def __reduce__(self) -> tuple[type[IntakeError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """How much a file may ask of us. All are positive; sides and pixels are counted before any decoding.

    Raises ``ValueError`` when a value is not positive or the limits contradict each other.
    """

    max_bytes: int = 20 * 2**20
    """Size of the file. People's photos deserve less: 10 MiB."""
    max_pixels: int = 50_000_000
    max_side: int = 12_000
    min_side: int = 64
    small_side: int = 256
    """Below this shorter side the picture is taken with the warning ``small``."""
    max_scans: int = 64
    max_scan_pixels: int = 1_000_000_000
    """Scans of a JPEG times its pixels: what a progressive file costs to decode."""
    max_chunks: int = 1000
    """Segments of a JPEG, chunks of a WebP, chunks of a PNG other than picture data."""
    max_data_chunks: int = 20_000
    """Picture-data chunks of a PNG; ordinary writers make one per 4 to 64 KiB."""
    max_text_bytes: int = 8 * 2**20
    """Unpacked size of all texts and profiles in a PNG together."""
    working_side: int = 4096
    """Larger pictures are shrunk to this longer side when they are normalised."""
    jpeg_quality: int = 92
    decode_seconds: float = 10.0
    """Time, in seconds, that ``normalise_bounded`` gives a file."""
    decode_bytes: int = 2**30
    """Address space, in bytes, that ``normalise_bounded`` gives the decoding child process."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"The intake limit {field.name} must be positive, not {getattr(self, field.name)}.")
        if self.min_side > self.max_side:
            raise ValueError(f"The intake limit min_side ({self.min_side}) is above max_side ({self.max_side}).")
        if self.jpeg_quality > 100:
            raise ValueError(f"The intake limit jpeg_quality is at most 100, not {self.jpeg_quality}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known about an acceptable file before decoding it.

    ``width`` and ``height`` are as stored, before the camera's rotation is applied. ``warnings`` holds stable words:
    ``small`` (shorter side under ``small_side``), ``type_mismatch`` (name or declared type promised another format).
    """

    format: str
    """``JPEG``, ``PNG`` or ``WEBP``."""
    width: int
    height: int
    size: int
    """Length of the file in bytes."""
    sha256: str
    content_type: str
    digital_source_type: str = ""
    """IPTC term that the file itself declares (``trainedAlgorithmicMedia``); "" when it says nothing known. Its word
    only, but worth keeping: normalising drops all metadata, and a generated picture must stay marked."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalisedImage:
    """A picture made anew: upright, sRGB, 8 bits, no metadata; ``data`` is a JPEG (RGB) or a PNG (RGBA).

    ``changes`` holds stable words for what was done: ``rotated``, ``shrunk``, ``profile_converted``,
    ``profile_dropped``, ``mode_converted``.
    """

    data: bytes
    format: str
    """``JPEG`` or ``PNG``."""
    mode: str
    """``RGB`` or ``RGBA``."""
    width: int
    height: int
    sha256: str
    """Of ``data``."""
    inspection: Inspection
    changes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """File name suffix with its dot."""
        return ".png" if self.format == "PNG" else ".jpg"

    @property
    def content_type(self) -> str:
        return "image/png" if self.format == "PNG" else "image/jpeg"
