"""``fit``: the declaration, and pictures of exactly the sizes asked for."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.exceptions import InvalidParameters
from shopgen_django.operations.base import InputImage, OperationContext, Output
from shopgen_django.operations.fit import CHANNEL_SIZES
from shopgen_django.operations.registry import get_operation


def product_photo(width: int = 600, height: int = 300, middle: float = 0.8) -> Image.Image:
    """A red product on a plain light ground, its middle at ``middle`` of the width."""
    image = Image.new("RGB", (width, height), (230, 228, 220))
    left = width * middle - height * 0.2
    ImageDraw.Draw(image).ellipse((left, height * 0.25, left + height * 0.4, height * 0.8), fill=(190, 30, 40))
    noise = np.random.default_rng(1).normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def run(image: Image.Image, **params: Any) -> list[Output]:
    content = io.BytesIO()
    image.save(content, "PNG")
    operation = get_operation("fit")
    source = InputImage(
        id="one", content=content.getvalue(), sha256=hashlib.sha256(content.getvalue()).hexdigest(),
        width=image.width, height=image.height, format="PNG", category="Dress", alt_text="A red dress",
    )
    parsed = operation.clean(operation.Parameters.parse(params))
    return list(operation.run(OperationContext(params=parsed, inputs=(source,))))


def test_one_picture_for_each_size_in_the_order_asked_for() -> None:
    names = list(reversed(CHANNEL_SIZES))
    outputs = run(product_photo(), sizes=names)
    assert [output.image.size for output in outputs] == [
        (CHANNEL_SIZES[name].width, CHANNEL_SIZES[name].height) for name in names
    ]
    assert {(output.format, output.alt_text, output.category, output.parents) for output in outputs} == {
        ("JPEG", "A red dress", "Dress", ("one",))
    }


def test_a_size_of_ones_own() -> None:
    (output,) = run(product_photo(), sizes=["custom"], width=321, height=123, mode="crop")
    assert output.image.size == (321, 123)


def test_the_product_is_kept_when_cutting() -> None:
    """The product stands far right: the middle of the picture shows none of it, the crop around it all."""
    found = run(product_photo(), sizes=["custom"], width=300, height=300, mode="crop", focus="product")[0]
    missed = run(product_photo(), sizes=["custom"], width=300, height=300, mode="crop", focus="centre")[0]

    def red(output: Output) -> int:
        pixels = np.asarray(output.image).astype(int)
        return int(((pixels[..., 0] - pixels[..., 1]) > 80).sum())

    assert red(found) > 0.95 * red(run(product_photo(), sizes=["custom"], width=600, height=300)[0])
    assert red(missed) < 0.5 * red(found)


def test_a_point_can_be_kept_instead() -> None:
    photo = product_photo()
    (output,) = run(photo, sizes=["custom"], width=300, height=300, mode="crop", focus="point", focus_x=0.0)
    assert (np.asarray(output.image) == np.asarray(photo)[:, :300]).all()


def test_backgrounds() -> None:
    auto, colour, clear = (
        run(product_photo(), sizes=["thumbnail_400"], background=background, colour="#0a141e", margin=0.1)[0]
        for background in ("auto", "colour", "transparent")
    )
    assert np.abs(np.array(auto.image.getpixel((2, 2))) - (230, 228, 220)).max() <= 3
    assert colour.image.getpixel((2, 2)) == (10, 20, 30)
    assert clear.image.getpixel((2, 2))[3] == 0
    assert [output.format for output in (auto, colour, clear)] == ["JPEG", "JPEG", "PNG"]


def test_small_pictures_are_not_blown_up() -> None:
    (output,) = run(product_photo(100, 100, 0.5), sizes=["square_1000"], background="colour", colour="#0000ff")
    blue = (np.asarray(output.image) == (0, 0, 255)).all(axis=2)
    assert int((~blue).sum()) == 200 * 200
    (resized,) = run(product_photo(100, 100, 0.5), sizes=["square_1000"], mode="resize", max_upscale=3)
    assert resized.image.size == (300, 300)


def test_a_clear_picture_becomes_a_jpeg_on_its_background() -> None:
    image = product_photo(200, 200, 0.5).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    (output,) = run(image, sizes=["thumbnail_400"], mode="resize", format="JPEG", background="colour", colour="#00ff00")
    assert output.image.mode == "RGB"
    assert output.image.getpixel((50, 50)) == (0, 255, 0)


def test_the_product_in_the_middle_with_the_channels_margin() -> None:
    """Small in a corner of a wide photo: it comes out centred and as large as the channel likes, on its own ground."""
    photo = product_photo(1200, 600, middle=0.8)
    square, story = run(photo, sizes=["square_1000", "story_1080x1920"], mode="frame", max_upscale=4.0)
    for made, margin in ((square, 0.075), (story, 0.12)):
        red = np.asarray(made.image).astype(int)
        rows, columns = np.nonzero(red[..., 0] - red[..., 1] > 60)
        wide, high = made.image.size
        free = [columns.min() / wide, 1 - columns.max() / wide, rows.min() / high, 1 - rows.max() / high]
        assert min(free) == pytest.approx(margin, abs=0.025)
        assert free[0] == pytest.approx(free[1], abs=0.03) and free[2] == pytest.approx(free[3], abs=0.03)
        assert not made.held_back
    (wider,) = run(photo, sizes=["square_1000"], mode="frame", margin=0.2, max_upscale=4.0)
    red = np.asarray(wider.image).astype(int)
    rows, _columns = np.nonzero(red[..., 0] - red[..., 1] > 60)
    assert rows.min() / 1000 == pytest.approx(0.2, abs=0.015)


def test_a_product_that_is_not_found_is_shown_whole_and_held_back() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    (made,) = run(Image.fromarray(noise), sizes=["square_1000"], mode="frame")
    assert "not found for sure" in made.held_back and made.image.size == (1000, 1000)


def test_a_cut_out_is_framed_by_what_is_opaque() -> None:
    clear = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    clear.paste((190, 30, 40, 255), (10, 20, 110, 70))
    (made,) = run(clear, sizes=["square_1000"], mode="frame", background="transparent", margin=0.1, max_upscale=4.0)
    alpha = np.asarray(made.image.getchannel("A")) > 127
    rows, columns = np.nonzero(alpha)
    # 100 px wide may be enlarged four times: 400 of the 800 that the margin leaves.
    assert (columns.min(), columns.max() + 1) == (300, 700) and (rows.min(), rows.max() + 1) == (400, 600)


def test_parameters_that_contradict_each_other_name_the_field() -> None:
    parse = get_operation("fit").Parameters.parse
    with pytest.raises(InvalidParameters) as refusal:
        parse({"sizes": ["custom"], "width": 100})
    assert set(refusal.value.fields) == {"height"}
    with pytest.raises(InvalidParameters) as refusal:
        parse({"background": "transparent", "format": "JPEG"})
    assert set(refusal.value.fields) == {"format"}
    for wrong in ({"sizes": []}, {"sizes": ["enormous"]}, {"margin": 0.5}, {"colour": "red"}, {"focus_x": 2}):
        with pytest.raises(InvalidParameters) as refusal:
            parse(wrong)
        assert set(refusal.value.fields) == set(wrong)


def test_the_schema_lists_the_sizes() -> None:
    schema = get_operation("fit").Parameters.json_schema()
    assert schema["properties"]["sizes"]["items"]["enum"] == [*CHANNEL_SIZES, "custom"]
    assert schema["properties"]["sizes"]["default"] == ["square_1000"]
    assert "required" not in schema


def test_progress_and_cancelling() -> None:
    class Stopped(Exception):
        pass

    shares: list[float] = []

    def check() -> None:
        if shares:
            raise Stopped

    content = io.BytesIO()
    product_photo().save(content, "PNG")
    source = InputImage(id="1", content=content.getvalue(), sha256="", width=600, height=300, format="PNG")
    params = get_operation("fit").Parameters.parse({"sizes": ["thumbnail_400", "square_1000"]})
    context = OperationContext(
        params=params, inputs=(source,), check=check, report=lambda share, stage="": shares.append(share)
    )
    made = []
    with pytest.raises(Stopped):
        for output in get_operation("fit").run(context):
            made.append(output)
    assert shares == [0.5]
    assert len(made) == 1
