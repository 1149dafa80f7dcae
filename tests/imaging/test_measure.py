"""Measurements: right where the answer is known, ordered where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shopgen_django.imaging.measure import measure

from .hostile import scene


def test_a_flat_picture() -> None:
    found = measure(Image.new("RGB", (100, 80), (255, 255, 255)))
    assert found == {
        "sharpness": 0.0,
        "contrast": 0.0,
        "blankness": 1.0,
        "clipped_dark": 0.0,
        "clipped_light": 1.0,
        "saturation": 0.0,
        "entropy": 0.0,
        "opacity": 1.0,
        "width": 100.0,
        "height": 80.0,
    }


def test_half_black_half_white() -> None:
    image = Image.new("RGB", (100, 100), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 50, 100))
    found = measure(image)
    assert found["contrast"] == pytest.approx(1.0, abs=1e-3)
    assert found["blankness"] == 0.5
    assert found["clipped_dark"] == found["clipped_light"] == 0.5
    assert found["entropy"] == pytest.approx(1.0)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    image = scene()
    noisy = np.asarray(image) + np.random.default_rng(1).normal(0, 20, (240, 320, 3))
    values = [
        measure(picture)["sharpness"]
        for picture in (
            image.filter(ImageFilter.GaussianBlur(4)),
            image.filter(ImageFilter.GaussianBlur(1)),
            image,
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)),
        )
    ]
    assert values == sorted(values)
    assert values[0] * 10 < values[2]


def test_the_laplacian_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(2)
    grey = rng.integers(0, 256, (7, 9))
    expected = []
    for y in range(1, 6):
        for x in range(1, 8):
            around = grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1]
            expected.append(float(around - 4 * grey[y, x]))
    found = measure(Image.fromarray(grey.astype(np.uint8)))["sharpness"]
    assert found == pytest.approx(np.var(expected), rel=1e-4)


def test_saturation() -> None:
    assert measure(Image.new("RGB", (20, 20), (255, 0, 0)))["saturation"] == 1.0
    assert measure(Image.new("RGB", (20, 20), (200, 100, 100)))["saturation"] == pytest.approx(0.5)
    assert measure(Image.new("RGB", (20, 20), (0, 0, 0)))["saturation"] == 0.0


def test_uniform_noise_has_nearly_eight_bits() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (400, 400)).astype(np.uint8)
    assert measure(Image.fromarray(noise))["entropy"] > 7.95


def test_clear_pixels_count_as_white() -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    found = measure(image)
    assert found["opacity"] == pytest.approx(0.5)
    assert found["clipped_light"] == 0.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (64, 64), (1500, 900)])
def test_all_values_are_finite_for_any_mode_and_size(mode: str, size: tuple[int, int]) -> None:
    found = measure(scene(*size).convert(mode))
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.values())
    assert (found["width"], found["height"]) == size
    for share in ("contrast", "blankness", "clipped_dark", "clipped_light", "saturation", "opacity"):
        assert 0.0 <= found[share] <= 1.0
