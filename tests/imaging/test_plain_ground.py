"""The classical cut-out: right on pictures whose truth is known, doubtful where it cannot know."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.imaging.cutout import cut_out
from shopgen_django.imaging.plain_ground import compose, put_on_ground

PHOTOS = Path(__file__).resolve().parents[2] / "example_project" / "data" / "clothing_cc0"


def drawn(size: tuple[int, int] = (160, 128), *, hole: bool = False, seed: int = 3) -> tuple[Image.Image, np.ndarray]:
    """A red product on a grainy grey-blue ground, with its true mask."""
    rng = np.random.default_rng(seed)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    width, height = size
    draw.ellipse((width * 0.25, height * 0.2, width * 0.75, height * 0.85), fill=255)
    if hole:
        draw.ellipse((width * 0.42, height * 0.4, width * 0.58, height * 0.65), fill=0)
    truth = np.asarray(mask) > 127
    pixels = np.where(truth[..., None], (190, 40, 50), (120, 130, 150)).astype(np.float64)
    pixels += rng.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), truth


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (96, 128), (300, 200), (700, 900)])
def test_a_clear_product_is_found_at_any_size(size: tuple[int, int]) -> None:
    image, truth = drawn(size)
    result = cut_out(image)
    assert result.alpha.shape == truth.shape
    assert result.alpha.dtype == np.uint8
    assert iou(result.alpha > 127, truth) > 0.93
    assert result.confidence > 0.5


def test_a_hole_stays_open() -> None:
    image, truth = drawn((200, 200), hole=True)
    alpha = cut_out(image).alpha
    hole = np.zeros_like(truth)
    hole[90:125, 90:110] = True
    assert not truth[hole].any()
    assert float((alpha[hole] < 128).mean()) > 0.8


def test_the_result_lies_on_the_ground_asked_for_and_keeps_the_product() -> None:
    image, truth = drawn()
    picture, confidence = put_on_ground(image, ground=(10, 200, 30))
    pixels = np.asarray(picture).astype(int)
    assert picture.mode == "RGB"
    assert picture.size == image.size
    assert 0.0 <= confidence <= 1.0
    assert (pixels[:10] == (10, 200, 30)).all()
    inside = np.asarray(Image.fromarray(truth).resize(image.size))[50:70, 70:90]
    assert inside.all()
    assert np.abs(pixels[50:70, 70:90] - np.asarray(image).astype(int)[50:70, 70:90]).max() <= 1


def test_the_rim_takes_the_products_colour_not_the_old_grounds() -> None:
    """With a half-clear rim, a white composite must not be darker or greyer than product over white would be."""
    rgb = np.full((40, 40, 3), (20, 20, 20), np.uint8)
    rgb[:, 20:] = (200, 60, 60)
    rgb[:, 19] = (110, 40, 40)
    alpha = np.zeros((40, 40), np.float32)
    alpha[:, 20:] = 1.0
    alpha[:, 19] = 0.5
    rim = np.asarray(compose(Image.fromarray(rgb), alpha))[20, 19].astype(int)
    # Half of the light of either: (200, 60, 60) and white, mixed in linear light.
    assert np.abs(rim - (229, 191, 191)).max() <= 8


def test_the_same_pixels_give_the_same_answer() -> None:
    image, _ = drawn(seed=9)
    first, second = cut_out(image), cut_out(image.copy())
    assert (first.alpha == second.alpha).all()
    assert first.confidence == second.confidence


def test_a_picture_with_its_own_alpha_keeps_it() -> None:
    image, truth = drawn()
    image.putalpha(Image.fromarray((truth * 255).astype(np.uint8)))
    result = cut_out(image)
    assert result.confidence == 1.0
    assert ((result.alpha > 127) == truth).all()
    assert (np.asarray(put_on_ground(image)[0])[0, 0] == 255).all()


def test_a_fully_opaque_alpha_channel_is_not_taken_for_a_cut_out() -> None:
    image, truth = drawn()
    image.putalpha(255)
    assert iou(cut_out(image).alpha > 127, truth) > 0.93


@pytest.mark.parametrize("name", ["flat", "noise", "white on white", "full frame"])
def test_what_cannot_be_cut_out_gets_a_low_confidence(name: str) -> None:
    rng = np.random.default_rng(5)
    pixels = {
        "flat": np.full((96, 128, 3), 200, np.uint8),
        "noise": rng.integers(0, 256, (96, 128, 3)).astype(np.uint8),
        "white on white": np.clip(
            np.where(drawn((128, 96))[1][..., None], 250, 252) + rng.normal(0, 2, (96, 128, 3)), 0, 255
        ).astype(np.uint8),
        "full frame": np.clip(rng.normal((60, 90, 160), 8, (96, 128, 3)), 0, 255).astype(np.uint8),
    }[name]
    picture, confidence = put_on_ground(Image.fromarray(pixels))
    assert picture.size == (128, 96)
    assert confidence < 0.5


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGBA"])
def test_other_modes_are_taken(mode: str) -> None:
    image, _ = drawn()
    picture, _ = put_on_ground(image.convert(mode))
    assert (picture.mode, picture.size) == ("RGB", image.size)


def test_too_small_and_mismatched_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8"):
        cut_out(Image.new("RGB", (7, 40)))
    with pytest.raises(ValueError, match="The alpha is 5 x 5"):
        compose(Image.new("RGB", (8, 8)), np.zeros((5, 5), np.float32))


def test_real_photos_mostly_come_out_plausible() -> None:
    """Ten phone photos, one of each class: most are trusted, and what is trusted has a clean white frame."""
    with (PHOTOS / "labels.csv").open(newline="") as handle:
        first_of_class: dict[str, str] = {}
        for row in csv.DictReader(handle):
            first_of_class.setdefault(row["label"], row["file"])
    assert len(first_of_class) == 10
    trusted = 0
    for file in first_of_class.values():
        path = next(PHOTOS.rglob(Path(file).name))
        with Image.open(path) as photo:
            picture, confidence = put_on_ground(photo.convert("RGB"))
        if confidence >= 0.5:
            trusted += 1
            pixels = np.asarray(picture)
            frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            assert float((frame == 255).all(axis=1).mean()) > 0.5
    assert trusted >= 5
