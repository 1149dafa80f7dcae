"""What tells noise from cloth: calm places and the grid of JPEGs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shopgen_django.imaging.noise_signs import block_steps, calmest, is_noisy, level_of


def half_cloth(grain: float = 0.0) -> Image.Image:
    """Fine cloth on the left, a soft slope on the right; ``grain`` over both."""
    rng = np.random.default_rng(1)
    array = np.tile(np.linspace(90.0, 150.0, 256)[None, :, None], (256, 1, 3))
    array[:, :128] += rng.normal(0.0, 20.0, (256, 128, 1))
    return Image.fromarray(np.rint(array + rng.normal(0.0, 1.0, array.shape) * grain).clip(0, 255).astype(np.uint8))


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return opened.convert("RGB")


def test_cloth_is_not_grain() -> None:
    assert calmest(half_cloth()) < 1.0
    assert not is_noisy(half_cloth())
    assert level_of(half_cloth(), guessed=15.0, coloured=0.0) == 0.0


@pytest.mark.parametrize("grain", [5.0, 12.0, 25.0])
def test_grain_is_told_beside_cloth_and_white_ground(grain: float) -> None:
    found = level_of(half_cloth(grain), guessed=0.0, coloured=0.0)
    assert found == pytest.approx(grain, rel=0.12)
    framed = Image.new("RGB", (1024, 1024), "white")  # clipped: no noise there
    framed.paste(half_cloth(grain), (384, 384))
    assert level_of(framed, guessed=1.0, coloured=0.0) == pytest.approx(grain, rel=0.15)
    assert level_of(half_cloth(grain), guessed=60.0, coloured=0.0) == 60.0
    assert level_of(half_cloth(grain), guessed=0.0, coloured=1.0) > found


def test_blocks_are_told_wherever_the_grid_lies() -> None:
    rough = np.random.default_rng(0).integers(60, 200, (12, 12), dtype=np.uint8)
    smooth = Image.fromarray(rough).resize((256, 256), Image.Resampling.BICUBIC).convert("RGB")
    assert block_steps(smooth) < 0.2
    blocky = as_jpeg(smooth, 15)
    assert block_steps(blocky) > 1.75 and is_noisy(blocky)
    assert block_steps(blocky.crop((3, 5, 250, 251))) > 1.75
    assert level_of(blocky, guessed=4.0, coloured=1.0) == 4.0
    assert block_steps(as_jpeg(smooth, 90)) < 1.0


def test_small_and_flat_pictures_have_a_figure() -> None:
    for picture in (Image.new("L", (1, 1)), Image.new("RGB", (9, 3), "white"), Image.new("RGB", (300, 300), "black")):
        assert (calmest(picture), block_steps(picture)) == (0.0, 0.0)
    grain = np.random.default_rng(0).normal(128, 10, (40, 40))
    assert calmest(Image.fromarray(grain.clip(0, 255).astype(np.uint8))) == pytest.approx(10.0, rel=0.15)
