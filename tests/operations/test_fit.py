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
