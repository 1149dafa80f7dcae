"""The cut-out chain: outline, own colours, hints, doubts, and sizes it must stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from shopgen_django.imaging.cutout import Hints, cut_out
from shopgen_django.imaging.cutout.alpha import full_alpha, strips
from shopgen_django.imaging.cutout.colours import foreground
from shopgen_django.imaging.cutout.doubts import confidence_of, network_doubts

RED, GREEN = (190, 40, 50), (60, 150, 70)


def drawn(size: tuple[int, int] = (320, 240), *, noise: float = 5.0) -> tuple[Image.Image, np.ndarray]:
    """A red disc with a hole on a grainy green ground, and its true alpha (float), antialiased."""
    width, height = size
    large = Image.new("L", (4 * width, 4 * height))
    draw = ImageDraw.Draw(large)
    box = (width * 1.0, height * 0.7, width * 3.0, height * 3.4)
    draw.ellipse(box, fill=255)
    draw.ellipse((width * 1.7, height * 1.6, width * 2.3, height * 2.4), fill=0)
    alpha = np.asarray(large.resize(size, Image.Resampling.BOX), np.float32) / 255.0
    pixels = np.array(RED) * alpha[..., None] + np.array(GREEN) * (1 - alpha[..., None])
    pixels = pixels + np.random.default_rng(1).normal(0, noise, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), alpha


def blurred_finder(truth: np.ndarray, side: int = 80) -> Any:
    """What a network gives: the right answer (red is product), coarse and soft."""

    def find(rgb: np.ndarray | None) -> np.ndarray:
        mask = truth if rgb is None else (rgb[..., 0].astype(int) - rgb[..., 1] > 60).astype(np.float32)
        coarse = Image.fromarray((mask * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BOX)
        return np.asarray(coarse, np.float32) / 255.0

    return find


def test_the_outline_is_sharper_than_what_the_finder_saw() -> None:
    image, truth = drawn()
    finder = blurred_finder(truth)
    coarse = Image.fromarray((finder(None) * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    before = np.abs(np.asarray(coarse, np.float32) / 255 - truth).sum()
    found = cut_out(image, finder=finder)
    after = np.abs(found.alpha / 255.0 - truth).sum()
    assert after < 0.5 * before
    assert found.alpha.shape == truth.shape and found.alpha.dtype == np.uint8
    assert found.confidence > 0.5


def test_holes_stay_open_and_the_inside_is_solid() -> None:
    image, truth = drawn()
    alpha = cut_out(image, finder=blurred_finder(truth)).alpha
    hole = np.zeros(truth.shape, bool)
    hole[100:140, 145:175] = True
    assert (alpha[hole & (truth == 0)] < 26).mean() > 0.9
    inside = np.asarray(Image.fromarray((truth > 0.99).astype(np.uint8) * 255)) > 0
    assert (alpha[inside] < 242).mean() < 0.02


def test_no_old_ground_shines_through_on_any_new_one() -> None:
    image, truth = drawn(noise=0.0)
    alpha = np.rint(truth * 255).astype(np.uint8)
    colours = foreground(image, alpha)
    soft = (alpha > 20) & (alpha < 235)
    assert soft.sum() > 100
    naive = np.abs(np.asarray(image, np.float32)[soft] - RED).mean()
    ours = np.abs(colours.astype(np.float32)[soft] - RED).mean()
    assert ours < 0.35 * naive


def test_solid_pixels_keep_the_photos_bytes() -> None:
    image, truth = drawn()
    found = cut_out(image, finder=blurred_finder(truth))
    solid = found.alpha == 255
    assert solid.any()
    assert np.array_equal(found.colours[solid], np.asarray(image)[solid])


def test_clear_pixels_hold_no_old_ground() -> None:
    image, truth = drawn()
    found = cut_out(image, finder=blurred_finder(truth))
    corner = found.colours[:10, :10].reshape(-1, 3)
    assert (np.abs(corner.astype(int) - GREEN).max(axis=1) > 40).all()


def test_strips_cover_every_row_once_and_give_the_same_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth = drawn((1200, 300))
    belief = blurred_finder(truth)(None)
    whole = full_alpha(image, belief)
    monkeypatch.setattr("shopgen_django.imaging.cutout.alpha._STRIP_PIXELS", 1200 * 37)
    rows = [row for top, bottom in strips(image.size) for row in range(top, bottom)]
    assert rows == list(range(300))
    assert np.array_equal(full_alpha(image, belief), whole)


def test_a_box_leaves_nothing_outside_and_helps_choose() -> None:
    image = Image.new("RGB", (300, 200), (230, 230, 228))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 50, 120, 150), fill=RED)
    draw.rectangle((180, 50, 280, 150), fill=(40, 60, 160))
    alpha = cut_out(image, hints=Hints(box=(0.55, 0.15, 0.98, 0.85))).alpha
    assert alpha[:, :160].max() == 0
    assert (alpha[60:140, 190:270] > 250).mean() > 0.95


def test_a_click_takes_away_and_another_brings_back() -> None:
    image = Image.new("RGB", (300, 200), (230, 230, 228))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 50, 140, 150), fill=RED)
    draw.rectangle((170, 50, 270, 150), fill=(40, 60, 160))

    def both(rgb: np.ndarray) -> np.ndarray:
        return (rgb.min(axis=2) < 200).astype(np.float32)

    without = cut_out(image, finder=both, hints=Hints(drop=((0.73, 0.5),)))
    assert (without.alpha[60:140, 180:260] < 10).mean() > 0.95
    assert (without.alpha[80:120, 70:110] > 250).mean() > 0.95
    assert without.confidence == 1.0  # a person has looked

    def one(rgb: np.ndarray) -> np.ndarray:
        return (rgb[..., 0].astype(int) - rgb[..., 2] > 60).astype(np.float32)

    again = cut_out(image, finder=one, hints=Hints(keep=((0.73, 0.5),)))
    assert (again.alpha[60:140, 180:260] > 245).mean() > 0.95


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0.6, 0, 0.4, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.2)])
def test_impossible_boxes_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box"):
        Hints(box=box)


def test_a_network_that_sees_nothing_or_all_is_doubted() -> None:
    image, _truth = drawn()
    for value in (0.0, 1.0):
        found = cut_out(image, finder=lambda rgb, value=value: np.full((40, 40), value, np.float32))
        assert found.confidence == 0.0
        assert found.weakest == "area"


def test_doubt_grows_with_indecision() -> None:
    image, truth = drawn()
    rgb = np.asarray(image)
    from shopgen_django.imaging.cutout.classical import find

    classical = find(rgb)
    sure, unsure = truth, 0.5 + 0.25 * (truth - 0.5)
    scores = [confidence_of(network_doubts(rgb, b.astype(np.float32), 1.0, classical)) for b in (sure, unsure)]
    assert scores[0] > 0.5 > scores[1]
    assert confidence_of(network_doubts(rgb, sure.astype(np.float32), 0.6, classical)) == 0.0


def test_a_picture_with_its_own_alpha_keeps_it() -> None:
    image, truth = drawn()
    rgba = image.copy()
    rgba.putalpha(Image.fromarray((truth * 255).astype(np.uint8)))
    found = cut_out(rgba)
    assert np.array_equal(found.alpha, (truth * 255).astype(np.uint8))
    assert found.confidence == 1.0


@given(
    width=st.integers(8, 90), height=st.integers(8, 90), mode=st.sampled_from(["RGB", "L", "RGBA", "P", "CMYK", "1"]),
    seed=st.integers(0, 50),
)
@settings(max_examples=15, deadline=None)
def test_any_size_and_mode_comes_out_whole(width: int, height: int, mode: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found = cut_out(Image.fromarray(pixels).convert(mode))
    assert found.alpha.shape == (height, width) and found.colours.shape == (height, width, 3)
    assert 0.0 <= found.confidence <= 1.0
    assert found.picture().size == (width, height)


def test_too_small_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="8 x 8"):
        cut_out(Image.new("RGB", (7, 40)))


def test_work_stops_where_it_is_told_to() -> None:
    image, truth = drawn()
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        cut_out(image, finder=blurred_finder(truth), check=check)


def test_colours_of_a_transparent_file_are_the_files_own() -> None:
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, :10] = (255, 0, 0, 128)  # glass
    pixels[:, 10:20] = (0, 0, 0, 80)  # a shadow
    pixels[:, 20:] = (9, 200, 9, 0)  # hidden green
    found = cut_out(Image.fromarray(pixels))
    assert np.array_equal(found.alpha, pixels[..., 3])
    seen = pixels[..., 3] > 0
    assert np.array_equal(found.colours[seen], pixels[..., :3][seen])
    assert not (found.colours[~seen] == (9, 200, 9)).all(axis=1).any()


def test_after_strokes_the_confidence_is_that_of_what_they_made() -> None:
    image = Image.new("RGB", (120, 120), (230, 230, 228))
    ImageDraw.Draw(image).rectangle((40, 40, 80, 80), fill=RED)

    def nothing(rgb: np.ndarray) -> np.ndarray:
        return np.zeros(rgb.shape[:2], np.float32)

    def everything(rgb: np.ndarray) -> np.ndarray:
        return np.ones(rgb.shape[:2], np.float32)

    assert cut_out(image, finder=nothing).confidence == 0.0
    marked = cut_out(image, finder=nothing, hints=Hints(keep=((0.5, 0.5),)))
    assert marked.alpha[60, 60] == 255 and marked.confidence == 1.0
    # The wrong click: the whole picture stays product.
    assert cut_out(image, finder=everything, hints=Hints(keep=((0.5, 0.5),))).confidence == 0.0


@pytest.mark.parametrize("offset", range(0, 480, 37))
def test_a_small_stroke_marks_something_in_a_small_picture(offset: int) -> None:
    image = Image.new("RGB", (64, 64), (230, 230, 228))
    strokes = np.zeros((512, 512), np.uint8)
    strokes[offset : offset + 3, offset : offset + 3] = 1
    found = cut_out(image, finder=lambda rgb: np.zeros(rgb.shape[:2], np.float32), hints=Hints(strokes=strokes))
    assert found.alpha.any()


def test_a_large_picture_keeps_a_clean_rim() -> None:
    """Above the side at which neighbours are looked for, the correction at full size has to do."""
    width, height = 1600, 1200
    truth = Image.new("L", (width, height))
    ImageDraw.Draw(truth).ellipse((400, 300, 1200, 900), fill=255)
    alpha = np.asarray(truth.resize((width, height)).filter(ImageFilter.GaussianBlur(3)), np.uint8)
    share = alpha[..., None] / 255.0
    photo = Image.fromarray(np.rint(np.array(RED) * share + np.array(GREEN) * (1 - share)).astype(np.uint8))
    soft = (alpha > 20) & (alpha < 235)
    naive = np.abs(np.asarray(photo, np.float32)[soft] - RED).mean()
    assert np.abs(foreground(photo, alpha).astype(np.float32)[soft] - RED).mean() < 0.2 * naive
