"""Every kind of picture that folders hold becomes 8 bit, upright and square, or is refused with a reason."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shopgen_django.ml.pictures import BadPicture, decode, frame_product, sheet, to_pillow, to_square


def _data(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    upright = decode(_data(image, "JPEG", exif=exif, quality=95))
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5))[1] < 60  # red on top
    assert upright.getpixel((10, 35))[1] > 200


@pytest.mark.parametrize(
    ("image", "kind", "mode", "value"),
    [
        (Image.new("P", (16, 16), 1), "PNG", "RGB", None),
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", "RGB", (254, 0, 0)),
        (Image.new("L", (16, 16), 77), "PNG", "L", 77),
        (Image.new("1", (16, 16), 1), "PNG", "L", 255),
        (Image.new("LA", (16, 16), (80, 128)), "PNG", "RGBA", (80, 80, 80, 128)),
        (Image.new("I;16", (16, 16), 65535), "PNG", "L", 255),
        (Image.new("I;16", (16, 16), 257 * 100), "PNG", "L", 100),
        (Image.new("F", (16, 16), 0.5), "TIFF", "L", 128),
        (Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "PNG", "RGBA", (1, 2, 3, 4)),
    ],
)
def test_modes(image: Image.Image, kind: str, mode: str, value: Any) -> None:
    decoded = decode(_data(image, kind))
    assert decoded.mode == mode
    if value is not None:
        pixel = decoded.getpixel((8, 8))
        assert np.allclose(pixel, value, atol=2)


def test_palette_transparency_is_laid_on_white_unless_there_is_a_fourth_channel() -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30] + [0] * 765)
    decoded = decode(_data(image, "PNG", transparency=0))
    assert decoded.mode == "RGBA"
    assert (to_square(decoded, size=16, channels=3, fit="crop") == 255).all()
    four = to_square(decoded, size=16, channels=4, fit="crop")
    assert four.shape == (4, 16, 16)
    assert (four[3] == 0).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is text", "not a picture"),
        (_data(Image.new("RGB", (1, 1))), "too small"),
        (_data(Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)), "JPEG")[:900], "broken"),
        (_data(Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)))[:900], "broken"),
    ],
)
def test_what_can_not_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(BadPicture, match=reason):
        decode(data)


def test_too_large_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopgen_django.ml.pictures.MAX_PIXELS", 100)
    with pytest.raises(BadPicture, match="too large"):
        decode(_data(Image.new("RGB", (11, 10))))


def test_the_content_decides_not_the_name() -> None:
    assert decode(_data(Image.new("RGB", (16, 16), "red"), "GIF")).mode == "RGB"


def test_padding_keeps_the_whole_picture_and_takes_the_borders_colour() -> None:
    image = Image.new("RGB", (60, 20), (10, 200, 10))
    image.paste((255, 0, 0), (1, 5, 59, 15))
    padded = to_square(image, size=30, channels=3, fit="pad")
    assert padded[:, 0, 15].tolist() == [10, 200, 10]
    cropped = to_square(image, size=30, channels=3, fit="crop")
    assert cropped[:, 15, 0].tolist() == [255, 0, 0]


def test_framing_brings_products_to_one_size_and_place() -> None:
    image = Image.new("RGB", (100, 80), "white")
    image.paste((0, 0, 200), (60, 40, 80, 70))
    framed = frame_product(image)
    ink = np.asarray(framed).min(axis=2) < 240
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert framed.width == framed.height == 34
    assert (rows[0], rows[-1]) == (2, 31)
    assert (columns[0], columns[-1]) == (7, 26)
    white = Image.new("RGB", (30, 20), "white")
    assert frame_product(white) is white


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_arrays_and_pictures(channels: int, mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (channels, 8, 8), dtype=np.uint8)
    picture = to_pillow(array)
    assert picture.mode == mode
    assert (to_square(picture, size=8, channels=channels, fit="crop") == array).all()


def test_sheet_places_pictures_row_by_row() -> None:
    pictures = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (10, 20, 30)]
    made = sheet(pictures, columns=2, gap=1)
    assert made.size == (11, 11)
    assert [made.getpixel(p)[0] for p in ((2, 2), (7, 2), (2, 7), (7, 7))] == [10, 20, 30, 255]
