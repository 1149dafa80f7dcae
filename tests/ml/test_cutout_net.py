"""The cut-out network that ships: what it takes and gives, its card, and that the engine uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from shopgen_django.engines.cutout import Cutout
from shopgen_django.exceptions import PermanentError
from shopgen_django.imaging.cutout import cut_out
from shopgen_django.imaging.cutout.classical import colour_belief
from shopgen_django.ml import cards, shipped
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.cutout_net import NAME, SIDE, CutoutNet, ShippedFinder, network_input
from shopgen_django.ml.cutting import finder_of, network_digest
from shopgen_django.ml.errors import ModelFileError


@pytest.fixture(scope="module")
def finder() -> ShippedFinder:
    return ShippedFinder()


def product(size: tuple[int, int] = (200, 150)) -> tuple[Image.Image, np.ndarray]:
    mask = Image.new("L", size)
    width, height = size
    ImageDraw.Draw(mask).ellipse((width * 0.25, height * 0.2, width * 0.75, height * 0.85), fill=255)
    truth = np.asarray(mask) > 127
    pixels = np.where(truth[..., None], (190, 40, 50), (120, 160, 130))
    pixels = pixels + np.random.default_rng(1).normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), truth


@pytest.mark.parametrize("shape", [(1, 64, 96), (2, 160, 160)])
def test_every_pixel_gets_an_answer(shape: tuple[int, int, int]) -> None:
    count, height, width = shape
    network = CutoutNet(widths=(4, 6, 8)).eval()
    assert network(torch.rand(count, 4, height, width)).shape == (count, 1, height, width)


def test_the_input_holds_the_picture_and_what_its_colours_say() -> None:
    image, truth = product((128, 96))
    rgb = np.asarray(image)
    given = network_input(rgb)
    assert given.shape == (4, 96, 128) and given.dtype == np.float32
    assert np.allclose(given[:3], rgb.transpose(2, 0, 1) / 255.0)
    assert given[3][truth].mean() > given[3][~truth].mean() + 0.4
    assert colour_belief(rgb).max() <= 1.0 and colour_belief(rgb).min() >= 0.0


def test_the_weights_are_small_named_and_licensed() -> None:
    card = cards.card_of(NAME)
    assert (cards.FOLDER / f"{NAME}.safetensors").stat().st_size == card["bytes"] < 3e6
    assert card["licence"] and "CC0" in card["data"] and "u2netp" in card["teacher"]
    assert card["steps"] > 0 and card["figures"]


def test_it_finds_a_product_from_any_side_and_the_same_each_time(finder: ShippedFinder) -> None:
    image, truth = product()
    belief = finder(np.asarray(image))
    assert belief.shape == (SIDE, SIDE) and belief.dtype == np.float32
    assert np.array_equal(belief, finder(np.asarray(image)))
    found = cut_out(image, finder=finder)
    mask = found.alpha > 127
    assert (mask & truth).sum() / (mask | truth).sum() > 0.95 and found.confidence > 0.5


def test_weights_that_were_changed_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("json", "safetensors"):
        (tmp_path / f"{NAME}.{kind}").write_bytes((cards.FOLDER / f"{NAME}.{kind}").read_bytes())
    changed = bytearray((tmp_path / f"{NAME}.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / f"{NAME}.safetensors").write_bytes(changed)
    monkeypatch.setattr("shopgen_django.ml.cutout_net.load_shipped",
                        lambda network, name: shipped.load_shipped(network, name, folder=tmp_path))  # fmt: skip
    with pytest.raises(ModelFileError, match="not the file"):
        ShippedFinder()
    with pytest.raises(PermanentError, match="not the file"):
        Cutout(MODEL="shipped").finder()


def test_the_engine_uses_it_when_nothing_was_added(tmp_path: Path, settings: Any) -> None:
    settings.SHOPGEN = {"ROOT": str(tmp_path)}
    engine = Cutout()
    assert engine.identity() == f"shipped {cards.card_of(NAME)['sha256'][:12]}" == Cutout(MODEL="shipped").identity()
    assert isinstance(engine.finder(), ShippedFinder) and engine.finder() is engine.finder()
    assert engine.network() == "shipped" and engine.check() == []
    classical = Cutout(MODEL="classical")
    assert (classical.finder(), classical.identity(), classical.network()) == (None, "classical", "classical")


def test_training_on_white_takes_it_unless_told_otherwise() -> None:
    white = TrainConfig(prepare="white")
    assert isinstance(finder_of(white), ShippedFinder)
    assert network_digest(white) == [cards.card_of(NAME)["sha256"]]
    classical = TrainConfig(prepare="white", cutout="classical")
    assert finder_of(classical) is None and network_digest(classical) == ["classical"]
    assert finder_of(TrainConfig()) is None
