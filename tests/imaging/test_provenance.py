"""Provenance goes into the file, comes out again, and is what an independent reader finds."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from shopgen_django.imaging.provenance import (
    DIGITAL_SOURCE_TYPES,
    digital_source_uri,
    encode,
    inherited_source_type,
    read_provenance,
)

from . import hostile as make

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FACTS = {"job": "6f1c", "operation": "generate", "model": 'Kleider & <Hüte> "2" 衣服'}
WITH_ENTITY = (
    '<!DOCTYPE l [<!ENTITY a "ha">]><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description>'
    '<x:CreatorTool xmlns:x="http://ns.adobe.com/xap/1.0/">&a;</x:CreatorTool></r:Description></r:RDF>'
)
FORMATS = ["PNG", "JPEG", "WEBP"]


def written(kind: str, image: Image.Image | None = None, **changes: object) -> bytes:
    options = {"digital_source_type": "trainedAlgorithmicMedia", "software": "shopgen-django 9.9", "extra": FACTS}
    return encode(image or make.scene(), format=kind, **{**options, **changes})


def packet_by_container(data: bytes, kind: str) -> bytes:
    """The XMP packet, found by a reading of the container formats that shares no code with the package."""
    if kind == "PNG":
        at = 8
        while True:
            length, name = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + 8 + length]
            assert zlib.crc32(name + body) == struct.unpack_from(">I", data, at + 8 + length)[0]
            assert name != b"IEND", "no XMP before the end"
            if name == b"iTXt":
                keyword, compressed, method, rest = re.fullmatch(rb"(.*?)\x00(.)(.)(.*)", body, re.DOTALL).groups()
                assert (keyword, compressed, method) == (b"XML:com.adobe.xmp", b"\x00", b"\x00")
                return rest.split(b"\x00", 2)[2]
            at += 12 + length
    if kind == "JPEG":
        at = data.index(b"\xff\xe1")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        prefix = b"http://ns.adobe.com/xap/1.0/\x00"
        assert data[at + 4 : at + 4 + len(prefix)] == prefix
        return data[at + 4 + len(prefix) : at + 2 + length]
    assert data[12:16] == b"VP8X"
    assert data[20] & 0x04, "the flag that says that there is XMP"
    at = data.index(b"XMP ")
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at + 8 : at + 8 + length]


@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip(kind: str) -> None:
    data = written(kind)
    assert read_provenance(data) == {"digital_source_type": GENERATED, "software": "shopgen-django 9.9", **FACTS}
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == kind
        image.load()
        assert np.abs(np.asarray(image).astype(int) - np.asarray(make.scene())).mean() < 3


@pytest.mark.parametrize("kind", FORMATS)
def test_an_independent_reader_finds_well_formed_xmp(kind: str) -> None:
    packet = packet_by_container(written(kind), kind)
    assert packet.startswith(b'<?xpacket begin="\xef\xbb\xbf"')
    assert packet.endswith(b'<?xpacket end="r"?>')
    root = ElementTree.fromstring(packet)
    assert root.findtext(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == GENERATED
    assert root.findtext(".//{http://ns.adobe.com/xap/1.0/}CreatorTool") == "shopgen-django 9.9"


@pytest.mark.parametrize("kind", FORMATS)
def test_pillow_finds_the_same_packet(kind: str) -> None:
    data = written(kind)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.info["xmp"] == packet_by_container(data, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_input_gives_the_same_bytes(kind: str) -> None:
    backwards = dict(reversed(FACTS.items()))
    first, second = written(kind), written(kind, extra=backwards)
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert written(kind, digital_source_type="digitalCapture") != first


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_else_of_the_picture_gets_into_the_file(kind: str) -> None:
    """What a decoded photo carries along (EXIF, profile, comments, texts) stays out."""
    source = make.with_jpeg_segment(
        0xFE, make.PHP, make.jpeg(exif=make.exif(1, gps=True, make="Camera"), icc_profile=make.lab_profile())
    )
    with Image.open(io.BytesIO(source)) as photo:
        photo.load()
        photo.info["transparency_note"] = "x"
        data = encode(photo, format=kind, digital_source_type="digitalCapture")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert len(image.getexif()) == 0
        assert not {"icc_profile", "exif", "comment", "photoshop"} & set(image.info)
    assert b"Camera" not in data
    assert b"<?php" not in data


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_survives(kind: str) -> None:
    image = make.scene(mode="RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    with Image.open(io.BytesIO(written(kind, image))) as back:
        assert np.abs(np.asarray(back)[..., 3].astype(int) - np.asarray(image)[..., 3]).max() <= 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK", "I", "F"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_modes_are_written(kind: str, mode: str) -> None:
    assert read_provenance(written(kind, make.scene().convert(mode)))["software"] == "shopgen-django 9.9"


def test_an_unknown_origin_is_left_out() -> None:
    assert read_provenance(encode(make.scene(), format="png")) == {}
    assert "digital_source_type" not in read_provenance(encode(make.scene(), format="png", software="x"))


def test_addresses_are_taken_as_well_as_terms() -> None:
    assert digital_source_uri(GENERATED) == digital_source_uri("trainedAlgorithmicMedia") == GENERATED
    for term in DIGITAL_SOURCE_TYPES:
        assert digital_source_uri(term).endswith("/" + term)


def test_what_cannot_be_written_is_refused_in_words() -> None:
    picture = make.scene()
    with pytest.raises(ValueError, match="'madeByMagic' is no IPTC digital source type"):
        encode(picture, format="PNG", digital_source_type="madeByMagic")
    with pytest.raises(ValueError, match="PNG, JPEG or WEBP, not 'GIF'"):
        encode(picture, format="GIF")
    with pytest.raises(ValueError, match="cannot be the name"):
        encode(picture, format="PNG", extra={"a b": "x"})
    with pytest.raises(ValueError, match="cannot be the name"):
        encode(picture, format="PNG", extra={"software": "x"})
    with pytest.raises(ValueError, match="at most 60000"):
        encode(picture, format="JPEG", extra={"note": "x" * 70_000})
    with pytest.raises(ValueError, match="cannot hold transparency"):
        encode(make.scene(mode="RGBA"), format="JPEG")
    with pytest.raises(ValueError, match="quality is 1 to 100"):
        encode(picture, format="JPEG", quality=0)


def test_characters_that_xml_cannot_hold_are_left_out() -> None:
    data = encode(make.scene(), format="PNG", extra={"title": "a\x00b\x1b\ud800c]]>"})
    assert read_provenance(data)["title"] == "abc]]>"


def test_the_attribute_form_of_other_programs_is_read() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'i:DigitalSourceType="{GENERATED}"/></rdf:RDF></x:xmpmeta>'
    )
    data = make.encoded(make.scene(), "JPEG", xmp=packet.encode())
    assert read_provenance(data) == {"digital_source_type": GENERATED}
    text = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(packet.encode())
    assert read_provenance(make.with_png_chunks(make.chunk(b"iTXt", text))) == {"digital_source_type": GENERATED}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n\x00",
        b"RIFF\x00\x00\x00\x00WEBP",
        make.jpeg(),
        make.encoded(make.scene(), "JPEG", xmp=b"<broken"),
        make.encoded(make.scene(), "JPEG", xmp=WITH_ENTITY.encode()),
        make.encoded(make.scene(), "JPEG", xmp=WITH_ENTITY.encode("utf-16")),
        make.with_png_chunks(make.chunk(b"iTXt", b"XML:com.adobe.xmp\x00")),
        make.with_png_chunks(make.chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + make.zeros_packed(2**24))),
        make.with_png_chunks(make.chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00no zlib")),
    ],
    ids=[
        "empty",
        "jpeg start",
        "png start",
        "webp start",
        "none",
        "broken",
        "doctype",
        "utf-16",
        "short",
        "bomb",
        "no zlib",
    ],
)
def test_nothing_readable_is_nothing(data: bytes) -> None:
    assert read_provenance(data) == {}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_of_a_file_is_read_without_an_error(kind: str) -> None:
    data = encode(make.scene(64, 64), format=kind, digital_source_type="composite", software="s")
    for length in range(0, len(data), 7):
        assert read_provenance(data[:length]) in ({}, read_provenance(data))


@pytest.mark.parametrize(
    ("own", "inputs", "wanted"),
    [
        ("algorithmicallyEnhanced", ["digitalCapture", ""], "algorithmicallyEnhanced"),
        ("algorithmicallyEnhanced", [], "algorithmicallyEnhanced"),
        ("algorithmicallyEnhanced", ["trainedAlgorithmicMedia"], "trainedAlgorithmicMedia"),
        ("algorithmicallyEnhanced", [GENERATED], "trainedAlgorithmicMedia"),
        ("algorithmicallyEnhanced", ["trainedAlgorithmicMedia", ""], "compositeWithTrainedAlgorithmicMedia"),
        ("composite", ["compositeWithTrainedAlgorithmicMedia"], "compositeWithTrainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", ["digitalCapture"], "trainedAlgorithmicMedia"),
        ("algorithmicallyEnhanced", ["compositeCapture"], "compositeCapture"),
        ("compositeCapture", ["trainedAlgorithmicMedia"], "trainedAlgorithmicMedia"),
    ],
)
def test_what_was_generated_stays_marked_through_every_later_step(own: str, inputs: list[str], wanted: str) -> None:
    assert inherited_source_type(own, inputs) == wanted
