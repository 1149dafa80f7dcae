"""The signs and values of every loss, and the penalties where they can be known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from shopgen_django.ml.losses import LOSSES, gradient_penalties, slope_penalty

LOGITS = (-8.0, 0.0, 8.0)


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def _slope(name: str, logit: float, real: float = 0.0) -> float:
    """d(generator's loss) / d(logit of a made picture)."""
    fake = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    LOSSES[name].generator(torch.tensor([real], dtype=torch.float64), fake).backward()
    assert fake.grad is not None
    return float(fake.grad)


EXPECTED = {
    "minimax": lambda logit: -_sigmoid(logit),
    "ns": lambda logit: -_sigmoid(-logit),
    "hinge": lambda logit: -1.0,
    "lsgan": lambda logit: logit - 1.0,
    "rp": lambda logit: -_sigmoid(0.0 - logit),
    "wgan-gp": lambda logit: -1.0,
}


def test_every_loss_has_its_derivative_in_the_table() -> None:
    assert EXPECTED.keys() == LOSSES.keys()


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_generators_derivative_is_that_of_the_formula(name: str, logit: float) -> None:
    assert _slope(name, logit) == pytest.approx(EXPECTED[name](logit), abs=1e-9)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"lsgan"}))
def test_descending_pushes_the_logit_of_a_made_picture_up(name: str, logit: float) -> None:
    assert _slope(name, logit) < 0.0


@pytest.mark.parametrize("logit", LOGITS)
def test_the_wrong_form_has_the_opposite_sign(logit: float) -> None:
    """Descending -log(1 - D(G(z))) would help the discriminator: the mistake this product grew from."""
    fake = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    wrong = softplus(fake).mean()
    assert wrong.item() == pytest.approx(-math.log(1.0 - _sigmoid(logit)), rel=1e-9)
    wrong.backward()
    assert fake.grad is not None
    assert float(fake.grad) > 0.0
    assert float(fake.grad) == pytest.approx(-_slope("minimax", logit), abs=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_step_on_the_generator_raises_the_score_of_what_it_makes(name: str) -> None:
    """A linear generator against a frozen linear discriminator."""
    torch.manual_seed(0)
    generator = torch.nn.Linear(3, 5)
    weight = torch.randn(5)
    z = torch.randn(16, 3)

    def score() -> Tensor:
        return 0.1 * generator(z) @ weight

    before = score().mean().item()
    LOSSES[name].generator(torch.zeros(16), score()).backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    assert score().mean().item() > before


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_step_on_the_discriminator_separates(name: str) -> None:
    real = torch.zeros(4, requires_grad=True)
    fake = torch.full((4,), 0.25, requires_grad=True)
    LOSSES[name].discriminator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_extreme_logits_stay_finite(name: str, dtype: torch.dtype) -> None:
    for side in ("generator", "discriminator"):
        real = torch.tensor([-1e4, 1e4, -1e4, 1e4], dtype=dtype, requires_grad=True)
        fake = torch.tensor([-1e4, -1e4, 1e4, 1e4], dtype=dtype, requires_grad=True)
        loss = getattr(LOSSES[name], side)(real, fake)
        loss.backward()
        assert torch.isfinite(loss)
        assert fake.grad is not None
        assert torch.isfinite(fake.grad).all()


def test_values_at_zero() -> None:
    zero = torch.zeros(3)
    assert LOSSES["ns"].discriminator(zero, zero).item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert LOSSES["rp"].discriminator(zero, zero).item() == pytest.approx(math.log(2), abs=1e-6)
    assert LOSSES["minimax"].generator(zero, zero).item() == pytest.approx(-math.log(2), abs=1e-6)


def test_penalties_of_a_linear_discriminator_are_its_squared_weight() -> None:
    weight = torch.randn(3, 4, 4, dtype=torch.float64)
    real = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = (torch.cat([real, fake]) * weight).sum(dim=(1, 2, 3))
    r1, r2 = gradient_penalties(logits.float(), real, fake)
    expected = float(weight.square().sum())
    assert float(r1) == pytest.approx(expected, rel=1e-5)
    assert float(r2) == pytest.approx(expected, rel=1e-5)


def test_penalties_are_a_mean_over_pictures_not_a_norm_of_the_batch() -> None:
    """Two pictures with gradients of norm 1 and 3: the mean square is 5."""
    pictures = torch.zeros(2, 1, 1, 1, requires_grad=True)
    logits = pictures.flatten() * torch.tensor([1.0, 3.0])
    (penalty,) = gradient_penalties(logits, pictures)
    assert penalty.item() == pytest.approx(5.0)


def test_penalties_can_be_differentiated() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    pictures = torch.randn(3, 1, 2, 2, requires_grad=True)
    (penalty,) = gradient_penalties(scale * pictures.sum(dim=(1, 2, 3)), pictures)
    penalty.backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(2 * 2.0 * 4)  # d(scale**2 * 4 pixels) / d(scale)


def test_the_slope_penalty_is_per_picture() -> None:
    """Slopes of 1 and 3: (0 + 4) / 2. A norm over the whole batch would give (sqrt(10) - 1) squared."""
    pictures = torch.zeros(2, 1, 1, 1, requires_grad=True)
    penalty = slope_penalty(pictures.flatten() * torch.tensor([1.0, 3.0]), pictures)
    assert penalty.item() == pytest.approx(2.0)
    assert penalty.item() != pytest.approx((math.sqrt(10.0) - 1.0) ** 2)


def test_the_slope_penalty_of_a_flat_critic_is_one_and_its_gradient_finite() -> None:
    scale = torch.zeros((), requires_grad=True)
    pictures = torch.ones(2, 1, 2, 2, requires_grad=True)
    penalty = slope_penalty((scale * pictures).sum(dim=(1, 2, 3)), pictures)
    penalty.backward()
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert scale.grad is not None
    assert torch.isfinite(scale.grad)
