"""Walk the structure of JPEG, PNG and WebP files without decoding a pixel.

Each walker checks the limits that keep decoders from being abused and returns the file's size in pixels together with
a *reduced* stream: only the parts that describe the picture, its profile and its orientation. What is not in the
reduced stream (comments, thumbnails, vendor blocks, text, a second picture, an archive glued to the end) never reaches
Pillow's parsers. The walkers read the whole file once with C-speed searches; their Python loops are bounded by the
chunk limits, so no file within the size limit takes long.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from dataclasses import dataclass

from .contracts import IntakeError, IntakeLimits

__all__ = ["Structure", "corrupt", "read_structure", "sniff"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_KNOWN_TYPES = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"SIMPLE  =", "a FITS file"),
    (b"PK\x03\x04", "an archive"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A walked file: ``format`` (JPEG, PNG, WEBP), size in pixels, the bytes to open it and the bytes to decode it."""

    format: str
    width: int
    height: int
    head: tuple[bytes | memoryview, ...]
    stream: tuple[bytes | memoryview, ...]


def corrupt(what: str) -> IntakeError:
    """The refusal of a damaged file; ``what`` is the rest of the sentence "The file ..."."""
    return IntakeError("corrupt", f"The file {what}.")


def sniff(data: bytes) -> str:
    """``JPEG``, ``PNG`` or ``WEBP`` by the first bytes; raises IntakeError for anything else."""
    if not data:
        raise IntakeError("empty", "The file is empty.")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, 64, 4))}
        if not brands & {b"avif", b"avis"} and brands & _HEIC_BRANDS:
            raise IntakeError("heic_not_supported", "HEIC photos cannot be read here.")
    kind = next((name for magic, name in _KNOWN_TYPES if data.startswith(magic)), None)
    if kind is None and data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        kind = "a text or SVG file"
    message = (
        f"This is {kind}, not a JPEG, PNG or WebP picture." if kind else "This is not a JPEG, PNG or WebP picture."
    )
    raise IntakeError("unsupported_type", message)


def read_structure(data: bytes, limits: IntakeLimits) -> Structure:
    """Walk ``data`` by its own format, whatever its name says. Raises IntakeError when it breaks a limit or a rule."""
    walkers = {"JPEG": _walk_jpeg, "PNG": _walk_png, "WEBP": _walk_webp}
    return walkers[sniff(data)](data, limits)


def check_size(width: int, height: int, limits: IntakeLimits) -> None:
    """Raise IntakeError when a picture of ``width`` x ``height`` pixels is outside the limits."""
    if width < 1 or height < 1:
        raise corrupt("says that the picture has no pixels")
    if max(width, height) > limits.max_side:
        raise IntakeError(
            "too_many_pixels", f"The picture is {width} x {height}; at most {limits.max_side} pixels a side are taken."
        )
    if width * height > limits.max_pixels:
        raise IntakeError(
            "too_many_pixels",
            f"The picture is {width} x {height} = {width * height / 1e6:.1f} megapixels; "
            f"at most {limits.max_pixels / 1e6:g} are taken.",
        )
    if min(width, height) < limits.min_side:
        raise IntakeError(
            "too_small", f"The picture is {width} x {height}; at least {limits.min_side} pixels a side are needed."
        )


# JPEG (ITU-T T.81, annex B) ------------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff+[^\xff]")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""Begins with a plain byte, which the engine seeks twenty times as fast as a repeated one."""
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_MAX_JUNK = 4096
"""Bytes between segments that are no marker: a few cameras pad, decoders then crawl byte by byte."""


def _walk_jpeg(data: bytes, limits: IntakeLimits) -> Structure:
    view = memoryview(data)
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    size: tuple[int, int] | None = None
    scans = segments = junk = 0
    head_length = 0
    position = 2
    while True:
        # Between parts only so much junk is allowed that a longer search is not needed.
        match = _MARKER.search(data, position, position + _MAX_JUNK + 2)
        if match is None:
            raise corrupt("ends, or turns into something else, in the middle of the picture")
        marker, start = data[match.end() - 1], match.end()
        bare = marker in _BARE_MARKERS or marker == 0x00
        junk += match.end() - 2 - position + 2 * bare
        if junk > _MAX_JUNK:
            raise corrupt("holds too many stray bytes between its parts")
        if marker == 0xD9:
            break
        if bare:
            position = start
            continue
        if marker < 0xC0 or marker == 0xD8:
            raise corrupt("holds a marker that JPEG does not know")
        segments += 1
        if segments > limits.max_chunks:
            raise IntakeError("too_many_chunks", f"The JPEG has more than {limits.max_chunks} parts.")
        length = int.from_bytes(data[start : start + 2], "big")
        if length < 2 or start + length > len(data):
            raise corrupt("ends in the middle of the picture")
        body = view[start + 2 : start + length]
        if marker in _FRAME_MARKERS:
            if size is not None or len(body) < 6:
                raise corrupt("describes the picture's size wrongly or twice")
            size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
            check_size(*size, limits)
        if _jpeg_part_matters(marker, body):
            kept += [bytes((0xFF, marker)), view[start : start + length]]
        position = start + length
        if marker == 0xDA:
            if size is None:
                raise corrupt("has picture data before its size")
            scans += 1
            _check_scans(scans, size, limits)
            head_length = head_length or len(kept)
            end = _END_OF_SCAN.search(data, position)
            if end is None:
                raise corrupt("ends in the middle of the picture")
            kept.append(view[position : end.start()])
            position = end.start()
    if size is None or not scans:
        raise corrupt("holds no picture")
    return Structure(
        format="JPEG",
        width=size[0],
        height=size[1],
        head=tuple(kept[:head_length]),
        stream=(*kept, b"\xff\xd9"),
    )


def _check_scans(scans: int, size: tuple[int, int], limits: IntakeLimits) -> None:
    if scans > limits.max_scans or scans * size[0] * size[1] > limits.max_scan_pixels:
        raise IntakeError("too_many_scans", f"The JPEG is built up in too many passes ({scans} or more).")


def _jpeg_part_matters(marker: int, body: memoryview) -> bool:
    """Tables, frames and scans; of the application segments only JFIF, Exif, ICC and Adobe's colour transform."""
    if marker == 0xFE or 0xE0 <= marker <= 0xEF:
        start = bytes(body[:12])
        return (
            (marker == 0xE0 and start.startswith(b"JFIF\x00"))
            or (marker == 0xE1 and start.startswith(b"Exif\x00"))
            or (marker == 0xE2 and start == b"ICC_PROFILE\x00")
            or (marker == 0xEE and start.startswith(b"Adobe"))
        )
    return True


# PNG (W3C Portable Network Graphics, third edition) ------------------------------------------------------------------

_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"eXIf"})
_PNG_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})


def _walk_png(data: bytes, limits: IntakeLimits) -> Structure:
    view = memoryview(data)
    kept: list[bytes | memoryview] = [_PNG_SIGNATURE]
    size: tuple[int, int] | None = None
    others = data_chunks = text_bytes = head_length = 0
    position = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise corrupt("ends in the middle of the picture")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if (kind == b"IHDR") != (size is None):
            raise corrupt("does not begin with one description of the picture")
        if end > len(data):
            raise corrupt("ends in the middle of the picture")
        body = view[position + 8 : end - 4]
        if kind == b"IDAT":
            data_chunks += 1
            head_length = head_length or len(kept)
        else:
            others += 1
        if others > limits.max_chunks or data_chunks > limits.max_data_chunks:
            raise IntakeError("too_many_chunks", f"The PNG has more than {limits.max_chunks} extra parts.")
        if kind == b"acTL":
            raise IntakeError("animated", "The PNG is animated.")
        if kind in _PNG_KEPT:
            # An upper-case first letter marks the chunks that no reader may ignore: damage there is fatal.
            if kind[:1].isupper() and zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
                raise corrupt("is damaged: a checksum does not match")
            kept.append(view[position:end])
        if kind == b"IHDR":
            if length != 13:
                raise corrupt("does not begin with one description of the picture")
            size = struct.unpack_from(">II", body)
            check_size(*size, limits)
        elif kind in _PNG_PACKED or kind == b"tEXt":
            text_bytes += _unpacked_length(body, kind, limits.max_text_bytes - text_bytes)
            if text_bytes > limits.max_text_bytes:
                raise corrupt("holds texts or a colour profile of absurd length")
        position = end
    if size is None or not data_chunks:
        raise corrupt("holds no picture")
    # Four bytes of length and four of type: Pillow stops reading at the first picture-data chunk.
    head = (*kept[:head_length], view[:0], b"\x00\x00\x00\x00IDAT")
    return Structure(format="PNG", width=size[0], height=size[1], head=head, stream=tuple(kept))


def _unpacked_length(body: memoryview, kind: bytes, allowed: int) -> int:
    """Bytes that a text or profile chunk unpacks to, counted no further than ``allowed`` + 1 and never kept."""
    raw = bytes(body)
    if kind not in _PNG_PACKED:
        return len(raw)
    start = raw.find(b"\x00") + 2
    if kind == b"iTXt":
        if raw[start - 1 : start] != b"\x01":
            return len(raw)
        for _ in range(2):
            start = raw.find(b"\x00", start + 1) + 1
    unpacker = zlib.decompressobj()
    packed, total = raw[start:], 0
    # A broken text does no harm, since texts are dropped here; a broken profile is for Pillow to judge.
    with contextlib.suppress(zlib.error):
        while packed and total <= allowed and not unpacker.eof:
            total += len(unpacker.decompress(packed, 2**20))
            packed = unpacker.unconsumed_tail
    return total


# WebP (RIFF container, RFC 9649) -------------------------------------------------------------------------------------


def _walk_webp(data: bytes, limits: IntakeLimits) -> Structure:
    total = int.from_bytes(data[4:8], "little") + 8
    if total > len(data) or total < 20:
        raise corrupt("ends in the middle of the picture")
    size: tuple[int, int] | None = None
    pictures = chunks = 0
    position = 12
    while position + 8 <= total:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + min(length, 16)]
        if position + 8 + length > total:
            raise corrupt("ends in the middle of the picture")
        chunks += 1
        if chunks > limits.max_chunks:
            raise IntakeError("too_many_chunks", f"The WebP has more than {limits.max_chunks} parts.")
        if kind in (b"ANIM", b"ANMF") or (kind == b"VP8X" and body[:1] and body[0] & 0x02):
            raise IntakeError("animated", "The WebP is animated.")
        found = _webp_size(kind, body)
        if found is not None:
            check_size(*found, limits)
            if size not in (None, found):
                raise corrupt("states two different sizes")
            size = found
            pictures += kind != b"VP8X"
        position += 8 + length + (length & 1)
    if size is None or pictures != 1:
        raise corrupt("does not hold exactly one picture")
    stream = (memoryview(data)[:total],)
    return Structure(format="WEBP", width=size[0], height=size[1], head=stream, stream=stream)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Size in pixels from a chunk that states one, else None."""
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        wide, high = struct.unpack_from("<HH", body, 6)
        return wide & 0x3FFF, high & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    return None
