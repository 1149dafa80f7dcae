"""Augmentation: differentiable twice, alike for both players, identity when off. The average: its half-life."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shopgen_django.ml.augment import Augment, policy
from shopgen_django.ml.ema import Ema

NAMES = ("brightness", "colour", "translate", "cutout")


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_probability_zero_returns_the_same_tensor() -> None:
    pictures = torch.randn(2, 3, 8, 8)
    assert Augment(NAMES, 0.0)(pictures, _rng()) is pictures


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [3, 4])
def test_gradients_of_first_and_second_order_are_right(name: str, channels: int) -> None:
    pictures = torch.randn(2, channels, 4, 4, dtype=torch.float64, requires_grad=True)

    def changed(given: torch.Tensor) -> torch.Tensor:
        return Augment((name,))(given, _rng(3)).square()

    assert torch.autograd.gradcheck(changed, (pictures,), atol=1e-4)
    assert torch.autograd.gradgradcheck(changed, (pictures,), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_make_the_same_change(name: str) -> None:
    pictures = torch.randn(4, 3, 16, 16)
    once, again = (Augment((name,))(pictures, _rng(1)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, Augment((name,))(pictures, _rng(2)))


def test_translation_moves_without_mixing_pictures() -> None:
    pictures = torch.zeros(64, 1, 16, 16)
    pictures[:, 0, 8, 8] = torch.arange(1.0, 65.0)
    moved = Augment(("translate",))(pictures, _rng())
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.arange(1.0, 65.0))
    places = {tuple(place[2:].tolist()) for place in moved.nonzero()}
    assert {y for y, _x in places} == {x for _y, x in places} == {6, 7, 8, 9, 10}


def test_colour_changes_keep_the_mean_brightness_on_average_and_spare_alpha() -> None:
    pictures = torch.rand(2000, 4, 2, 2)
    changed = Augment(("colour",))(pictures, _rng())
    assert torch.equal(changed[:, 3], pictures[:, 3])
    assert (changed[:, :3].mean() - pictures[:, :3].mean()).abs() < 0.02


def test_cutout_clears_about_the_right_share() -> None:
    cleared = (Augment(("cutout",))(torch.ones(500, 1, 32, 32), _rng()) == 0).float().mean(dim=(1, 2, 3))
    assert cleared.max() == pytest.approx(0.25, abs=0.001)
    assert 0.1 < cleared.mean() < 0.25


def test_policy_follows_the_number_of_pictures() -> None:
    assert policy(240, 3) == (("colour", "translate", "cutout"), 1.0)
    assert policy(240, 1) == (("brightness", "translate", "cutout"), 1.0)
    assert policy(10_000, 3) == (("translate", "cutout"), 0.3)
    assert policy(200_000, 3) == ((), 0.0)


def test_half_life_is_counted_in_pictures() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, half_life=1000, ramp=0.0)
    nn.init.ones_(module.weight)
    for step in range(10):
        ema.update(module, seen=(step + 1) * 100, batch=100)
    assert float(ema.module.weight) == pytest.approx(0.5, abs=1e-6)


def test_the_ramp_shortens_the_memory_of_a_young_run() -> None:
    ema = Ema(nn.Linear(1, 1), half_life=10_000, ramp=0.05)
    assert ema.current_half_life(0) == 0
    assert ema.current_half_life(1000) == 50
    assert ema.current_half_life(10**9) == 10_000


def test_buffers_are_copied() -> None:
    module = nn.BatchNorm1d(2)
    ema = Ema(module, half_life=10**9, ramp=0.0)
    module(torch.randn(8, 2) + 3.0)
    ema.update(module, seen=8, batch=8)
    assert isinstance(ema.module, nn.BatchNorm1d)
    assert torch.equal(ema.module.running_mean, module.running_mean)
    assert int(ema.module.num_batches_tracked) == 1
