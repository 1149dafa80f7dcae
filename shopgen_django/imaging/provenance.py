"""Say in the file how a picture was made, and read that again.

The origin is written as XMP: the IPTC property *DigitalSourceType* with a term of IPTC's NewsCodes, the program's name
as ``xmp:CreatorTool``, and further facts under a namespace of our own. Search engines and the transparency rules for
generated pictures read the first. The same pixels and facts always give the same bytes, so a file can be named after
its hash: there is no date in it.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = ["DIGITAL_SOURCE_TYPES", "digital_source_uri", "encode", "inherited_source_type", "read_provenance"]

_NEWSCODES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE_TYPES: Final = (
    "digitalCapture",
    "negativeFilm",
    "positiveFilm",
    "print",
    "humanEdits",
    "compositeCapture",
    "algorithmicallyEnhanced",
    "digitalCreation",
    "dataDrivenMedia",
    "trainedAlgorithmicMedia",
    "algorithmicMedia",
    "screenCapture",
    "virtualRecording",
    "composite",
    "compositeSynthetic",
    "compositeWithTrainedAlgorithmicMedia",
)
"""Terms of the IPTC vocabulary that ``encode`` takes, without their common address."""

_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN = "urn:shopgen-django:provenance:1"
_JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\x00"
_PNG_KEY = b"XML:com.adobe.xmp"
_MAX_PACKET = 60_000
"""Longest packet in bytes: a JPEG segment ends at 65,502."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RESERVED = frozenset({"digital_source_type", "software"})
_FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "JPG": "JPEG", "WEBP": "WEBP"}


def digital_source_uri(term: str) -> str:
    """The full address of an IPTC term such as ``trainedAlgorithmicMedia`` or of its address; else ValueError."""
    short = term.removeprefix(_NEWSCODES)
    if short not in DIGITAL_SOURCE_TYPES:
        raise ValueError(f"{term!r} is no IPTC digital source type. Known are: {', '.join(DIGITAL_SOURCE_TYPES)}.")
    return _NEWSCODES + short


def inherited_source_type(own: str, inputs: Iterable[str]) -> str:
    """The IPTC term of a result, from the term of what was done to it and those of the pictures it was made from.

    Cropping a picture that a model made does not turn it into a photo: a result of generated pictures alone stays
    ``trainedAlgorithmicMedia``, one with generated parts is ``compositeWithTrainedAlgorithmicMedia``. Nor does it turn
    a composite into a single shot. Otherwise ``own`` stands. Unknown inputs ("") count as not generated, since nothing
    says that they are.
    """
    generated = {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"}
    terms = {term.removeprefix(_NEWSCODES) for term in inputs}
    if own in generated:
        return own
    if not terms & generated:
        composed = sorted(terms & {"compositeCapture", "composite", "compositeSynthetic"})
        return composed[0] if composed and own == "algorithmicallyEnhanced" else own
    only = terms == {"trainedAlgorithmicMedia"}
    return "trainedAlgorithmicMedia" if only else "compositeWithTrainedAlgorithmicMedia"


def encode(
    image: Image.Image,
    *,
    format: str,  # noqa: A002 (Pillow's own word)
    digital_source_type: str = "",
    software: str = "",
    extra: Mapping[str, str] | None = None,
    quality: int = 92,
) -> bytes:
    """Encode a picture as ``PNG``, ``JPEG`` or ``WEBP`` with its provenance, and with no other metadata at all.

    ``digital_source_type`` is an IPTC term or its address, empty when the origin is unknown. ``software`` is the
    program's name and version. ``extra`` holds further facts; its names are simple XML names other than
    ``digital_source_type`` and ``software``. Characters that XML cannot hold are left out. ``quality`` (1..100) is for
    the lossy formats; JPEG keeps full colour resolution. Modes other than L, RGB and RGBA are converted.

    Raises ``ValueError`` for an unknown format, term or name, for transparency in a JPEG, and for facts of over 60 kB.
    """
    kind = _FORMATS.get(format.upper())
    if kind is None:
        raise ValueError(f"Pictures are written as PNG, JPEG or WEBP, not {format!r}.")
    if not 1 <= quality <= 100:
        raise ValueError(f"The quality is 1 to 100, not {quality}.")
    packet = _packet(digital_source_type, software, extra or {})
    fresh = _pixels_only(image)
    if kind == "JPEG" and fresh.mode == "RGBA":
        raise ValueError("A JPEG cannot hold transparency: lay the picture on a ground first, or write a PNG or WebP.")
    out = io.BytesIO()
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt(_PNG_KEY, packet)
        fresh.save(out, "PNG", pnginfo=info, compress_level=6)
    elif kind == "JPEG":
        fresh.save(out, "JPEG", quality=quality, subsampling="4:4:4", xmp=packet)
    else:
        fresh.save(out, "WEBP", quality=quality, method=4, exact=False, xmp=packet)
    return out.getvalue()


def read_provenance(data: bytes) -> dict[str, str]:
    """What a PNG, JPEG or WebP says about its origin, whoever wrote it.

    Keys: ``digital_source_type`` (full address as written), ``software``, and the ``extra`` names of :func:`encode`.
    Empty when there is no XMP or it cannot be read: other programs' broken metadata is no error. Parses the container
    itself and refuses XML with a document type (entity bombs) by ignoring it.
    """
    packet = _find_packet(data)
    if packet is None or len(packet) > 2**20:
        return {}
    packet = packet.strip(b"\x00 \t\r\n")
    # A NUL inside means UTF-16 or UTF-32, in which a document type could hide from this look at the bytes.
    if b"\x00" in packet or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    try:
        root = ElementTree.fromstring(packet)  # noqa: S314 (no document type, size bounded)
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    found: dict[str, str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        for name, value in (*description.attrib.items(), *((child.tag, child.text or "") for child in description)):
            key = _key(name)
            if key is not None and value:
                found.setdefault(key, value)
    return found


def _key(name: str) -> str | None:
    if name == f"{{{_IPTC}}}DigitalSourceType":
        return "digital_source_type"
    if name == f"{{{_XMP}}}CreatorTool":
        return "software"
    short = name.removeprefix(f"{{{_OWN}}}")
    return short if short != name and short not in _RESERVED else None


def _pixels_only(image: Image.Image) -> Image.Image:
    """A copy in L, RGB or RGBA that carries neither info nor EXIF nor a profile."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        mode = image.mode
    else:
        clear = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
        mode = "RGBA" if clear else "RGB"
    fresh = Image.new(mode, image.size)
    fresh.paste(image if image.mode == mode else image.convert(mode))
    return fresh


def _packet(term: str, software: str, extra: Mapping[str, str]) -> bytes:
    lines = []
    if term:
        lines.append(("Iptc4xmpExt:DigitalSourceType", digital_source_uri(term)))
    if software:
        lines.append(("xmp:CreatorTool", software))
    for name in sorted(extra):
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"{name!r} cannot be the name of a provenance fact: use letters, digits and underscores.")
        lines.append((f"shopgen:{name}", str(extra[name])))
    body = "".join(f"   <{name}>{escape(_NOT_XML.sub('', value))}</{name}>\n" for name, value in lines)
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:xmp="{_XMP}" xmlns:shopgen="{_OWN}">\n'
        f"{body}"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    ).encode()
    if len(packet) > _MAX_PACKET:
        raise ValueError(f"The provenance facts take {len(packet)} bytes; a picture file holds at most {_MAX_PACKET}.")
    return packet


def _find_packet(data: bytes) -> bytes | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return next((_itxt_value(body) for kind, body in _png_chunks(data) if _is_xmp_text(kind, body)), None)
    if data.startswith(b"\xff\xd8"):
        segments = (body for marker, body in _jpeg_segments(data) if marker == 0xE1)
        return next((body[len(_JPEG_HEADER) :] for body in segments if body.startswith(_JPEG_HEADER)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return next((body for kind, body in _riff_chunks(data) if kind == b"XMP "), None)
    return None


def _is_xmp_text(kind: bytes, body: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(_PNG_KEY + b"\x00")


def _itxt_value(body: bytes) -> bytes | None:
    start = len(_PNG_KEY) + 3
    for _ in range(2):
        end = body.find(b"\x00", start)
        if end < 0:
            return None
        start = end + 1
    if body[len(_PNG_KEY) + 1 : len(_PNG_KEY) + 2] != b"\x01":
        return body[start:]
    unpacker = zlib.decompressobj()
    try:
        return unpacker.decompress(body[start:], 2**20 + 1)
    except zlib.error:
        return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length] if kind == b"iTXt" else b""
        at += 12 + length


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Segments before the picture data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0xDA, 0xD9):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length] if kind == b"XMP " else b""
        at += 8 + length + (length & 1)
