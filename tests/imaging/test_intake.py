"""Every kind of odd, broken or hostile upload meets its expected answer.

The numbers in the ids count the kinds; those about file names, requests and other fields belong to the HTTP tests.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from shopgen_django.imaging.intake import ERROR_CODES, IntakeError, IntakeLimits, inspect, normalise, normalise_bounded
from shopgen_django.imaging.provenance import encode

from . import hostile as make

REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("01 no bytes", lambda: b"", "empty"),
    ("02 one byte", lambda: b"\xff", "unsupported_type"),
    ("03 text", lambda: b"just some words" * 50, "unsupported_type"),
    ("04 html", lambda: make.HTML, "unsupported_type"),
    ("05 svg with script", lambda: make.SVG, "unsupported_type"),
    ("06 svg with bom", lambda: b"\xef\xbb\xbf" + make.SVG, "unsupported_type"),
    ("07 xml bomb", lambda: make.LAUGHS, "unsupported_type"),
    ("08 pdf", lambda: make.PDF, "unsupported_type"),
    ("09 eps", lambda: make.EPS, "unsupported_type"),
    ("10 tiff", lambda: make.encoded(make.scene(), "TIFF"), "unsupported_type"),
    ("11 bmp", lambda: make.encoded(make.scene(), "BMP"), "unsupported_type"),
    ("12 ico", lambda: make.encoded(make.scene(), "ICO"), "unsupported_type"),
    ("13 animated gif", lambda: make.animated("GIF", 50), "unsupported_type"),
    ("14 animated png", lambda: make.apng(50), "animated"),
    ("15 animated webp", lambda: make.animated("WEBP"), "animated"),
    ("17 avif", lambda: make.heic_header(b"avif"), "unsupported_type"),
    ("18 jpeg 2000", lambda: b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100), "unsupported_type"),
    ("19 heic", make.heic_header, "heic_not_supported"),
    ("19b heif sequence", lambda: make.heic_header(b"msf1"), "heic_not_supported"),
    ("20 png header 65535 squared", lambda: make.png_header(65535, 65535), "too_many_pixels"),
    ("21 png header 2^31-1 squared", lambda: make.png_header(2**31 - 1, 2**31 - 1), "too_many_pixels"),
    ("22 png 0 x 0", lambda: make.png_header(0, 0), "corrupt"),
    ("23 1-bit png 20000 squared", lambda: make.black_png(20000, 20000, bits=1, colour=0), "too_many_pixels"),
    ("24 png 12000 squared", lambda: make.black_png(12000, 12000), "too_many_pixels"),
    ("25 png 9400 squared", lambda: make.black_png(9400, 9400), "too_many_pixels"),
    ("26 png 40,000,000 x 1", lambda: make.black_png(40_000_000, 1), "too_many_pixels"),
    ("28 half a jpeg", lambda: make.jpeg()[: len(make.jpeg()) // 2], "corrupt"),
    ("29 jpeg without its end", lambda: make.jpeg()[:-2], "corrupt"),
    ("30 half a png", lambda: make.png()[: len(make.png()) // 2], "corrupt"),
    ("31 half a webp", lambda: make.webp()[: len(make.webp()) // 2], "corrupt"),
    ("32 png with a flipped byte", lambda: _flipped(make.png(), 400), "corrupt"),
    ("33 png with a wrong header checksum", lambda: _flipped(make.png(), 30), "corrupt"),
    ("34 png text bomb", lambda: _text_bomb(1, 100 * 2**20), "corrupt"),
    ("35 png profile bomb", lambda: _profile_bomb(100 * 2**20), "corrupt"),
    ("36 png with 700 packed texts", lambda: _text_bomb(700, 900_000), "corrupt"),
    ("36b png international text bomb", lambda: _international_bomb(50 * 2**20), "corrupt"),
    ("37 png with 300,000 chunks", lambda: make.many_png_chunks(300_000), "too_many_chunks"),
    ("37b png with 100,000 data chunks", lambda: _many_data_chunks(100_000), "too_many_chunks"),
    ("41 script, then a jpeg", lambda: b"#!/bin/sh\n" + make.jpeg(), "unsupported_type"),
    ("55 60 more scans", lambda: make.scan_bomb(60), "too_many_scans"),
    ("55b 400 more scans", lambda: make.scan_bomb(400), "too_many_scans"),
    ("55c few scans of many pixels", lambda: make.scan_bomb(20, 7000, 7000), "too_many_scans"),
    ("57 1 x 1", lambda: make.encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
    ("57b 63 x 500", lambda: make.jpeg(63, 500), "too_small"),
    ("58 fits", lambda: make.FITS, "unsupported_type"),
    ("59 psd", lambda: make.PSD, "unsupported_type"),
    ("60 gif screen 65535 squared", lambda: make.GIF_HUGE, "unsupported_type"),
    ("61 mcidas", lambda: make.MCIDAS, "unsupported_type"),
    ("62 xbm", lambda: make.XBM, "unsupported_type"),
    ("63 jpeg header 65500 squared", lambda: make.jpeg_with_size(65500, 65500), "too_many_pixels"),
    ("jpeg with 40,000 comments", lambda: _many_comments(40_000), "too_many_chunks"),
    ("jpeg with a megabyte of padding", lambda: b"\xff\xd8" + b"\xff" * 2**20 + make.jpeg()[2:], "corrupt"),
    ("jpeg with a megabyte of bare markers", lambda: make.jpeg()[:-2] + b"\xff\x01" * 2**19 + b"\xff\xd9", "corrupt"),
    ("jpeg with two sizes", lambda: _doubled_frame(), "corrupt"),
    ("jpeg without a scan", lambda: make.jpeg()[: make.jpeg().index(b"\xff\xda")] + b"\xff\xd9", "corrupt"),
    ("png without data", lambda: make.png()[:33] + make.chunk(b"IEND", b""), "corrupt"),
    ("webp without a picture", lambda: make.webp_riff((b"EXIF", bytes(40))), "corrupt"),
    ("webp with 5,000 chunks", lambda: make.webp_riff(*[(b"XXXX", b"")] * 5000), "too_many_chunks"),
    ("webp canvas 16,777,216 squared", lambda: make.webp_riff((b"VP8X", bytes(4) + b"\xff" * 6)), "too_many_pixels"),
]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]


def _text_bomb(count: int, size: int) -> bytes:
    return make.with_png_chunks(*[make.chunk(b"zTXt", b"k\x00\x00" + make.zeros_packed(size))] * count)


def _profile_bomb(size: int) -> bytes:
    return make.with_png_chunks(make.chunk(b"iCCP", b"k\x00\x00" + make.zeros_packed(size)))


def _international_bomb(size: int) -> bytes:
    return make.with_png_chunks(make.chunk(b"iTXt", b"k\x00\x01\x00en\x00k\x00" + make.zeros_packed(size)))


def _many_data_chunks(count: int) -> bytes:
    data = make.png()
    at = data.index(b"IDAT") - 4
    return data[:at] + make.chunk(b"IDAT", b"") * count + data[at:]


def _many_comments(count: int) -> bytes:
    data = make.jpeg()
    return data[:2] + b"\xff\xfe\x00\x02" * count + data[2:]


def _doubled_frame() -> bytes:
    data = make.jpeg()
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    return data[:at] + frame + data[at:]


@pytest.mark.parametrize(("build", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(build: Callable[[], bytes], code: str) -> None:
    """The web request, which decodes nothing, and the worker give the same answer."""
    data = build()
    for refuses in (inspect, normalise):
        with pytest.raises(IntakeError) as refusal:
            refuses(io.BytesIO(data))
        assert refusal.value.code == code
        assert refusal.value.message.endswith(".")
        assert refusal.value.hint


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def taken(data: bytes, *, kind: str = "JPEG", mode: str = "RGB") -> np.ndarray:
    """Normalise, check all that must hold for every result, and return its pixels (RGB)."""
    result = normalise(data)
    assert (result.format, result.mode) == (kind, mode)
    assert inspect(data) == result.inspection
    with Image.open(io.BytesIO(result.data)) as image:
        assert (image.format, image.mode, image.size) == (kind, mode, (result.width, result.height))
        assert len(image.getexif()) == 0
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    ending = b"\xff\xd9" if kind == "JPEG" else b"IEND\xaeB`\x82"
    assert result.data.endswith(ending)
    for trace in (b"<?php", b"PK\x03\x04", b"Exif", b"<script", b"GPS", b"http://ns.adobe.com"):
        assert trace not in result.data
    return pixels(result.data)


def close(found: np.ndarray, wanted: np.ndarray, limit: float = 6.0) -> bool:
    return found.shape == wanted.shape and float(np.abs(found - wanted).mean()) <= limit


SCENE = np.asarray(make.scene()).astype(int)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(make.jpeg, id="jpeg"),
        pytest.param(make.png, id="png"),
        pytest.param(make.webp, id="webp"),
        pytest.param(lambda: make.webp(lossless=True), id="webp lossless"),
        pytest.param(lambda: make.jpeg(progressive=True), id="progressive jpeg"),
        pytest.param(make.mpo, id="16 mpo, first picture"),
        pytest.param(lambda: make.png() + make.zipped(), id="38 png and zip"),
        pytest.param(lambda: make.jpeg() + make.zipped(), id="39 jpeg and zip with php"),
        pytest.param(lambda: make.with_jpeg_segment(0xFE, make.PHP), id="40 php in a comment"),
        pytest.param(lambda: make.jpeg(exif=make.exif(99)), id="43 orientation 99"),
        pytest.param(lambda: make.with_jpeg_segment(0xE1, make.looping_exif()), id="44 looping exif"),
        pytest.param(
            lambda: make.with_jpeg_segment(0xE1, b"Exif\x00\x00" + random.Random(1).randbytes(2048)),
            id="45 random exif",
        ),
        pytest.param(lambda: make.jpeg(icc_profile=random.Random(2).randbytes(3072)), id="53 random profile"),
        pytest.param(lambda: make.jpeg(icc_profile=make.lab_profile()), id="54 lab profile"),
        pytest.param(lambda: make.jpeg() + make.encoded(make.scene().rotate(180), "JPEG"), id="56 two jpegs"),
        pytest.param(
            lambda: make.with_png_chunks(make.chunk(b"tEXt", b"Comment\x00" + make.PHP)), id="php in a png text"
        ),
        pytest.param(lambda: make.with_jpeg_segment(0xE2, b"MPF\x00" + bytes(40)), id="broken mpo index"),
        pytest.param(lambda: make.with_jpeg_segment(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 9), id="broken app13"),
    ],
)
def test_taken_and_made_anew(build: Callable[[], bytes]) -> None:
    assert close(taken(build()), SCENE)


def test_27_a_large_png_is_taken_and_shrunk() -> None:
    result = normalise(make.black_png(6900, 6900, colour=0))
    assert (result.inspection.width, result.width, result.height) == (6900, 4096, 4096)
    assert "shrunk" in result.changes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_42_the_cameras_rotation_is_applied_and_position_dropped(orientation: int) -> None:
    """A viewer that honours EXIF must see the same before and after, for all eight orientations."""
    stored = make.scene()
    data = make.encoded(stored, "JPEG", quality=95, exif=make.exif(orientation, gps=True, make="<script>x</script>"))
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    assert close(taken(data), turn(SCENE))


def test_42b_rotation_in_png_and_webp_counts_as_well() -> None:
    for kind in ("PNG", "WEBP"):
        data = make.encoded(make.scene(), kind, exif=make.exif(6))
        assert close(taken(data), np.rot90(SCENE, -1))


INK = (200, 60, 30, 40)
INK_IN_RGB = tuple((255 - value) * (255 - INK[3]) / 255 for value in INK[:3])


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: make.cmyk_jpeg(INK), id="46 adobe cmyk"),
        pytest.param(lambda: make.cmyk_jpeg(INK, inverted=False), id="46b cmyk without a marker"),
        pytest.param(lambda: make.ycck_jpeg(INK), id="46c ycck"),
    ],
)
def test_46_ink_colours_come_out_right(build: Callable[[], bytes]) -> None:
    found = taken(build()).reshape(-1, 3).mean(axis=0)
    assert np.abs(found - INK_IN_RGB).max() <= 10


@pytest.mark.parametrize("value", [0, 100, 12345, 40000, 65535])
def test_47_sixteen_bit_grey_is_scaled_not_clipped(value: int) -> None:
    assert abs(taken(make.grey16_png(value)).mean() - value / 257) <= 1


def test_48_sixteen_bit_colour() -> None:
    found = taken(make.rgb16_png((60000, 30000, 1000))).reshape(-1, 3).mean(axis=0)
    assert np.abs(found - np.array([60000, 30000, 1000]) / 257).max() <= 3


def test_49_palette_with_transparency_keeps_alpha() -> None:
    data = make.palette_png(clear=True)
    taken(data, kind="PNG", mode="RGBA")
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(normalise(data).data)) as after:
        assert (np.asarray(before.convert("RGBA"))[..., 3] == np.asarray(after)[..., 3]).all()
        assert len(np.unique(np.asarray(after)[..., 3])) == 3


def test_49b_palette_without_transparency() -> None:
    assert close(taken(make.palette_png(clear=False)), np.asarray(make.scene(96, 96)).astype(int), 25)


def test_50_grey_with_alpha() -> None:
    image = make.scene(96, 96, "LA")
    image.putalpha(Image.linear_gradient("L").resize((96, 96)))
    taken(make.encoded(image, "PNG"), kind="PNG", mode="RGBA")
    with Image.open(io.BytesIO(normalise(make.encoded(image, "PNG")).data)) as after:
        assert (np.asarray(after)[..., 3] == np.asarray(image)[..., 1]).all()


def test_50b_one_clear_colour() -> None:
    data = make.encoded(Image.new("RGB", (80, 80), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    taken(data, kind="PNG", mode="RGBA")
    with Image.open(io.BytesIO(normalise(data).data)) as after:
        assert np.asarray(after)[..., 3].max() == 0


def test_50c_an_alpha_channel_without_a_clear_pixel_leaves_as_jpeg() -> None:
    assert close(taken(make.encoded(make.scene(mode="RGBA"), "PNG")), SCENE)


def test_50e_a_profile_that_does_not_fit_is_not_handed_on() -> None:
    image = make.scene(mode="RGBA")
    image.putpixel((5, 5), (0, 0, 0, 0))
    taken(make.encoded(image, "PNG", icc_profile=make.lab_profile()), kind="PNG", mode="RGBA")


def test_50d_webp_with_alpha() -> None:
    image = make.scene(mode="RGBA")
    image.putpixel((5, 5), (0, 0, 0, 0))
    taken(make.encoded(image, "WEBP"), kind="PNG", mode="RGBA")


def test_51_one_bit() -> None:
    found = taken(make.encoded(make.scene().convert("1"), "PNG"))
    assert close(found, np.asarray(make.scene().convert("1").convert("RGB")).astype(int))


def test_52_grey_jpeg() -> None:
    assert close(taken(make.encoded(make.scene(mode="L"), "JPEG")), np.asarray(make.scene(mode="L").convert("RGB")))


def test_53b_a_useful_profile_is_applied() -> None:
    """The same numbers mean other colours in a profile with swapped primaries: the result must follow the profile."""
    swapped = _swapped_profile()
    result = normalise(make.encoded(Image.new("RGB", (96, 96), (200, 30, 30)), "PNG", icc_profile=swapped))
    assert "profile_converted" in result.changes
    red, _, blue = pixels(result.data).reshape(-1, 3).mean(axis=0)
    assert blue > red + 60


def _swapped_profile() -> bytes:
    """An sRGB profile whose red and blue colorants are exchanged in its tag table."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def test_64_a_header_that_promises_more_than_the_file_holds() -> None:
    """Either answer is right; what counts is that it is one of the two."""
    data = make.jpeg_with_size(7000, 7000)
    try:
        result = normalise(data)
    except IntakeError as refusal:
        assert refusal.code == "corrupt"
    else:
        assert max(result.width, result.height) <= 4096


class Endless(io.RawIOBase):
    """A body that never ends and counts what was asked of it."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), 7777)
        buffer[:wanted] = bytes(wanted)
        self.given += wanted
        return wanted


def test_65_no_more_is_read_than_one_byte_over_the_limit() -> None:
    limits = IntakeLimits(max_bytes=100_000)
    body = Endless()
    with pytest.raises(IntakeError) as refusal:
        inspect(body, limits)
    assert refusal.value.code == "too_large"
    assert body.given == 100_001
    data = make.jpeg()
    assert inspect(data, IntakeLimits(max_bytes=len(data))).size == len(data)
    with pytest.raises(IntakeError) as refusal:
        inspect(data + b"\x00", IntakeLimits(max_bytes=len(data)))
    assert refusal.value.code == "too_large"


def test_69_names_and_declared_types_decide_nothing_but_are_noted() -> None:
    data = make.jpeg()
    assert inspect(data, name="a.JPEG", declared_type="image/jpeg; charset=x").warnings == ("small",)
    assert "type_mismatch" in inspect(data, declared_type="text/html").warnings
    assert "type_mismatch" in inspect(data, name="../../a.php").warnings
    assert inspect(data, name="\x00\u202egpj.exe").format == "JPEG"


def test_what_a_file_says_about_its_origin_is_kept_when_its_metadata_goes() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        data = encode(make.scene(), format=kind, digital_source_type="trainedAlgorithmicMedia")
        assert inspect(data).digital_source_type == "trainedAlgorithmicMedia"
        assert normalise_bounded(data).inspection.digital_source_type == "trainedAlgorithmicMedia"
    assert inspect(make.jpeg()).digital_source_type == ""
    nonsense = make.encoded(
        make.scene(),
        "JPEG",
        xmp=b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
        b'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType="http://x/&lt;b&gt;"/></r:RDF>',
    )
    assert inspect(nonsense).digital_source_type == ""


def test_a_file_is_left_where_it_was() -> None:
    file = io.BytesIO(b"head" + make.png())
    file.seek(4)
    assert inspect(file).format == "PNG"
    assert file.tell() == 4


def test_a_path_is_taken(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(make.png())
    assert inspect(path).sha256 == normalise(str(path)).inspection.sha256


def test_the_same_file_gives_the_same_bytes() -> None:
    assert normalise(make.webp()).data == normalise(make.webp()).data


def test_an_animation_hidden_after_the_picture_is_still_one() -> None:
    data = make.png()
    at = data.index(b"IDAT") - 4
    control = make.chunk(b"acTL", struct.pack(">II", 5, 0))
    with pytest.raises(IntakeError) as refusal:
        inspect(data[:at] + control + data[at:])
    assert refusal.value.code == "animated"


def test_a_transparent_picture_shrinks_without_a_dark_rim() -> None:
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((250, 240, 230, 255), (101, 101, 301, 301))
    result = normalise(make.encoded(image, "PNG"), IntakeLimits(working_side=90))
    with Image.open(io.BytesIO(result.data)) as after:
        array = np.asarray(after).astype(int)
    rim = (array[..., 3] > 40) & (array[..., 3] < 220)
    assert rim.any()
    assert np.abs(array[rim][:, :3] - (250, 240, 230)).max() <= 16


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes must be positive"):
        IntakeLimits(max_bytes=0)
    with pytest.raises(ValueError, match="min_side"):
        IntakeLimits(min_side=500, max_side=100)
    with pytest.raises(ValueError, match="not an intake error code"):
        IntakeError("nonsense", "x")


def test_every_code_has_a_hint() -> None:
    assert all(hint.endswith(".") for hint in ERROR_CODES.values())
    assert {code for _, _, code in REFUSED} <= set(ERROR_CODES)


def test_an_empty_deflate_stream_is_no_profile() -> None:
    """Ancillary damage in PNG text must not hide the picture."""
    data = make.with_png_chunks(make.chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"x")[:-3]))
    assert close(taken(data), SCENE)
