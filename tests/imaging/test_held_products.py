"""A person holding the product: the hand is left out, or a person has to look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shopgen_django.imaging.cutout import cut_out
from shopgen_django.ml.cutout_net import ShippedFinder

PHOTOS = Path(__file__).resolve().parents[1] / "data" / "held_products"
SURE = 0.5
"""What the operation asks for before a result may pass by itself."""


@pytest.fixture(scope="module")
def finder() -> ShippedFinder:
    return ShippedFinder()


@pytest.mark.parametrize(
    ("name", "hand", "product"),
    [
        ("left_out_milk", (20, 110, 70, 190), (85, 50, 125, 165)),
        ("left_out_yoghurt", (10, 130, 45, 190), (66, 40, 96, 150)),
    ],
)
def test_a_hand_that_is_left_out(
    finder: ShippedFinder, name: str, hand: tuple[int, int, int, int], product: tuple[int, int, int, int]
) -> None:
    """Boxes (left, top, right, bottom) lie on the hand and on the carton."""
    found = cut_out(Image.open(PHOTOS / f"{name}.jpg"), finder=finder)
    alpha = Image.fromarray(found.alpha)
    assert found.confidence >= SURE
    assert np.asarray(alpha.crop(hand)).mean() < 0.05 * 255
    assert np.asarray(alpha.crop(product)).mean() > 0.95 * 255


@pytest.mark.parametrize(
    ("name", "hand"), [("taken_sour_milk", (25, 95, 55, 130)), ("taken_yoghurt", (0, 60, 40, 110))]
)
def test_a_hand_that_is_taken_along_is_told(
    finder: ShippedFinder, name: str, hand: tuple[int, int, int, int]
) -> None:
    found = cut_out(Image.open(PHOTOS / f"{name}.jpg"), finder=finder)
    assert np.asarray(Image.fromarray(found.alpha).crop(hand)).mean() > 0.5 * 255, "the hand is in it"
    assert found.confidence < SURE
