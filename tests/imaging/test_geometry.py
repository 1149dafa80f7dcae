"""Exact sizes, whole pictures, clean edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shopgen_django.imaging.geometry import edge_colour, fit, place, resample

from .hostile import scene

sides = st.integers(1, 400)
shares = st.floats(0, 1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    size=st.tuples(sides, sides),
    width=sides,
    height=sides,
    mode=st.sampled_from(["crop", "pad"]),
    margin=st.floats(0, 0.45),
    upscale=st.floats(1, 8),
    focus=st.tuples(shares, shares),
    clear=st.booleans(),
)
def test_crop_and_pad_have_exactly_the_size(size, width, height, mode, margin, upscale, focus, clear) -> None:
    image = Image.new("RGBA" if clear else "RGB", size, (200, 10, 10, 128) if clear else (200, 10, 10))
    result = fit(
        image,
        width=width,
        height=height,
        mode=mode,
        margin=margin,
        max_upscale=upscale,
        focus=focus,
        background=(0, 0, 9),
    )
    assert (result.size, result.mode) == ((width, height), "RGB")
    assert fit(image, width=width, height=height, mode=mode, background=None).size == (width, height)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(size=st.tuples(sides, sides), width=sides, height=sides, upscale=st.floats(1, 8))
def test_resize_stays_inside_keeps_the_shape_and_is_as_large_as_can_be(size, width, height, upscale) -> None:
    found = place(size, width=width, height=height, mode="resize", max_upscale=upscale)
    wide, high = found.size
    assert 1 <= wide <= width
    assert 1 <= high <= height
    scale = min(width / size[0], height / size[1], upscale)
    assert abs(wide - size[0] * scale) <= 1
    assert abs(high - size[1] * scale) <= 1
    assert found.canvas == found.size
    assert found.offset == (0, 0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    size=st.tuples(sides, sides), width=sides, height=sides, focus=st.tuples(shares, shares), upscale=st.floats(1, 8)
)
def test_a_crop_lies_inside_the_picture_holds_the_focus_and_has_the_shape(size, width, height, focus, upscale) -> None:
    found = place(size, width=width, height=height, mode="crop", focus=focus, max_upscale=upscale)
    left, top, right, bottom = found.box
    assert -1e-6 <= left < right <= size[0] + 1e-6
    assert -1e-6 <= top < bottom <= size[1] + 1e-6
    assert left - 1e-6 <= focus[0] * size[0] <= right + 1e-6
    assert top - 1e-6 <= focus[1] * size[1] <= bottom + 1e-6
    assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=1e-6)
    assert right - left == pytest.approx(size[0]) or bottom - top == pytest.approx(size[1])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(size=st.tuples(sides, sides), width=sides, height=sides, margin=st.floats(0, 0.45), upscale=st.floats(1, 8))
def test_a_padded_picture_is_whole_centred_and_respects_the_margin(size, width, height, margin, upscale) -> None:
    found = place(size, width=width, height=height, mode="pad", margin=margin, max_upscale=upscale)
    assert found.box == (0, 0, *size)
    for axis, length in enumerate((width, height)):
        before = found.offset[axis]
        after = length - found.size[axis] - before
        assert 0 <= before <= after <= before + 1
        assert before + 1 >= min(margin * length, (length - 1) // 2)


def test_pictures_are_not_enlarged_beyond_the_limit() -> None:
    small = Image.new("RGB", (50, 40), (9, 9, 9))
    assert fit(small, width=1000, height=1000, mode="resize", max_upscale=2).size == (100, 80)
    padded = np.asarray(fit(small, width=400, height=400, mode="pad", max_upscale=2, background=(255, 255, 255)))
    assert int((padded[..., 0] < 128).sum()) == 100 * 80
    cropped = np.asarray(fit(small, width=400, height=400, mode="crop", max_upscale=2, background=(255, 255, 255)))
    assert int((cropped[..., 0] < 128).sum()) == 80 * 80
    assert place((50, 40), width=1000, height=1000, mode="crop", max_upscale=30).scale == pytest.approx(25)


def test_the_focus_decides_what_is_kept() -> None:
    image = scene(300, 100)
    left = np.asarray(fit(image, width=100, height=100, mode="crop", focus=(0, 0.5)))
    right = np.asarray(fit(image, width=100, height=100, mode="crop", focus=(1, 0.5)))
    assert (left == np.asarray(image)[:, :100]).all()
    assert (right == np.asarray(image)[:, 200:]).all()


def test_nothing_is_resampled_that_has_its_size() -> None:
    image = scene(120, 90)
    assert (np.asarray(fit(image, width=120, height=90, mode="crop")) == np.asarray(image)).all()
    padded = np.asarray(fit(image, width=160, height=90, mode="pad", background=(1, 2, 3)))
    assert (padded[:, 20:140] == np.asarray(image)).all()
    assert (padded[:, :20] == (1, 2, 3)).all()


@pytest.mark.parametrize("background", [(10, 250, 30), "auto"])
def test_a_clear_picture_has_no_dark_rim_on_its_ground(background) -> None:
    """A white square whose clear surroundings hide black: no shrunk pixel may be darker than both neighbours."""
    image = Image.new("RGBA", (500, 500), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (101, 101, 403, 403))
    result = np.asarray(fit(image, width=97, height=97, mode="pad", background=background)).astype(int)
    ground = np.array((255, 255, 255) if background == "auto" else background)
    assert (result >= ground - 3).all()


def test_transparency_is_kept_when_no_background_is_asked_for() -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (25, 25, 75, 75))
    result = fit(image, width=60, height=40, mode="pad", background=None)
    assert result.mode == "RGBA"
    assert result.getpixel((0, 0))[3] == 0
    assert result.getpixel((30, 20)) == (200, 0, 0, 255)
    assert fit(scene(80, 80), width=40, height=40, mode="pad", background=None).mode == "RGB"
    assert fit(scene(80, 80), width=60, height=40, mode="pad", background=None).getpixel((0, 0))[3] == 0


def test_the_edge_colour_is_the_grounds() -> None:
    image = Image.new("RGB", (200, 150), (241, 238, 230))
    image.paste((20, 60, 120), (50, 30, 150, 150))
    assert edge_colour(image) == (241, 238, 230)
    padded = fit(image, width=300, height=150, mode="pad", background="auto")
    assert padded.getpixel((2, 75)) == (241, 238, 230)
    assert edge_colour(Image.new("RGBA", (20, 20), (0, 0, 0, 0))) == (255, 255, 255)


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    board = Image.fromarray(((np.indices((800, 800)).sum(axis=0) % 2) * 255).astype(np.uint8)).convert("RGB")
    small = np.asarray(resample(board, (50, 50))).astype(int)
    assert np.abs(small - 127).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "RGBA"])
def test_other_modes_are_taken(mode: str) -> None:
    image = scene(80, 60, "L").convert("I").point(lambda value: value).convert("I;16") if mode == "I;16" else None
    result = fit(image or scene(80, 60).convert(mode), width=40, height=40, mode="crop")
    assert (result.size, result.mode) == ((40, 40), "RGB")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mode": "stretch"}, "crop, pad, resize or frame"),
        ({"width": 0}, "pixels wide and high"),
        ({"height": 20_000}, "pixels wide and high"),
        ({"margin": 0.5}, "margin"),
        ({"max_upscale": 0.5}, "enlargement"),
        ({"focus": (0.5, 1.1)}, "focus"),
        ({"background": (0, 0, 256)}, "background"),
        ({"max_upscale": float("nan")}, "enlargement"),
    ],
)
def test_values_out_of_range_are_refused_in_words(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(scene(80, 80), **{"width": 40, "height": 40, **wrong})
