"""Unrolled GAN: the gradient really passes through the discriminator's steps, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shopgen_django.ml.augment import Augment
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families.adversarial import AdversarialLearner, GameSettings
from shopgen_django.ml.families.base import Batch, DataFacts, Generator
from shopgen_django.ml.families.dcgan import FAMILY, DcganDiscriminator, DcganGenerator
from shopgen_django.ml.families.unrolled import AdamState, UnrolledLearner, adam_step, unroll
from shopgen_django.ml.losses import LOSSES
from shopgen_django.ml.seeding import generator as seeded

SETTINGS = GameSettings(
    loss=LOSSES["ns"], augment=Augment((), 0.0), gamma=0.0, lr=1e-2, betas=(0.5, 0.999), bf16=False
)


class Typed(Generator):
    """A DCGAN whose random vectors have the type of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = 6
        self.net = DcganGenerator(size=16, channels=1, latent=6, categories=2, plan=(6, 4))

    def draw(self, rng: Any, labels: Tensor, truncation: float = 1.0) -> Tensor:
        return super().draw(rng, labels, truncation).to(self.net.first.weight.dtype)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        made: Tensor = self.net(latents, labels)
        return made


def _networks(dtype: torch.dtype = torch.float64) -> tuple[Typed, DcganDiscriminator]:
    torch.manual_seed(0)
    generator, discriminator = Typed(), DcganDiscriminator(size=16, channels=1, categories=2, plan=(6, 4))
    return generator.to(dtype), discriminator.to(dtype)


def _batch(step: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    rng = seeded(1, "step", step)
    real, again = (torch.rand(4, 1, 16, 16, generator=rng, dtype=dtype) * 2 - 1 for _ in range(2))
    labels = torch.tensor([0, 1, 0, 1])
    return Batch(real=real, labels=labels, real_again=again, labels_again=labels, rng=rng, images_seen=4 * step)


def _learner(unrolled: int, steps: int = 2) -> UnrolledLearner:
    """After some plain steps of the discriminator, so that its optimiser has moments to start from."""
    learner = UnrolledLearner(*_networks(), SETTINGS, unrolled=unrolled)
    for step in range(steps):
        learner._discriminator_step(_batch(step))
    return learner


def test_without_steps_it_is_the_plain_game_bit_by_bit() -> None:
    for loss in ("ns", "rp"):
        settings = replace(SETTINGS, loss=LOSSES[loss], augment=Augment(("brightness", "translate", "cutout")))
        plain = AdversarialLearner(*_networks(torch.float32), settings)
        unrolled = UnrolledLearner(*_networks(torch.float32), settings, unrolled=0)
        for step in range(3):
            one, other = (learner.step(_batch(step, torch.float32)) for learner in (plain, unrolled))
            assert {n: v.item() for n, v in one.items()} == {n: v.item() for n, v in other.items()}
        for name, module in plain.modules().items():
            for key, value in module.state_dict().items():
                assert torch.equal(value, unrolled.modules()[name].state_dict()[key]), (loss, name, key)


def _slope(learner: UnrolledLearner) -> Tensor:
    """The derivative of the generator's loss by each of its first layer's weights."""
    loss, _figures = learner._generator_loss(_batch(9))
    (gradient,) = torch.autograd.grad(loss, [learner.generator.net.first.weight])  # type: ignore[union-attr,arg-type]
    return gradient


def _by_differences(learner: UnrolledLearner, direction: Tensor, by: float = 1e-5) -> float:
    weight = learner.generator.net.first.weight  # type: ignore[union-attr]
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight.add_(direction, alpha=sign * by)  # type: ignore[operator]
        values.append(learner._generator_loss(_batch(9))[0].item())
        with torch.no_grad():
            weight.add_(direction, alpha=-sign * by)  # type: ignore[operator]
    return (values[0] - values[1]) / (2.0 * by)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_is_that_of_finite_differences_and_not_the_detached_one(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml.families import unrolled

    learner = _learner(steps)
    gradient = _slope(learner)
    direction = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = _by_differences(learner, direction)
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-3)

    def detached(*arguments: Any, **keywords: Any) -> dict[str, Tensor]:
        return {n: v.detach() for n, v in unroll(*arguments, **keywords).items()}

    monkeypatch.setattr(unrolled, "unroll", detached)
    without = _slope(learner)
    assert float((without - gradient).norm() / gradient.norm()) > 0.01
    assert abs(float((without * direction).sum()) - expected) > 1e-3 * abs(expected)


def test_the_generators_step_leaves_the_discriminator_and_its_optimiser_alone() -> None:
    learner = _learner(3)
    discriminator, optimiser = learner.discriminator, learner.optimisers()["discriminator"]
    before = {n: v.clone() for n, v in discriminator.state_dict().items()}
    moments = [{k: v.clone() for k, v in optimiser.state[p].items()} for p in discriminator.parameters()]
    old = learner.generator.net.first.weight.clone()  # type: ignore[union-attr,operator]
    learner._generator_step(_batch(5))
    assert not torch.equal(old, learner.generator.net.first.weight)  # type: ignore[union-attr,arg-type]
    assert all(torch.equal(before[n], v) for n, v in discriminator.state_dict().items())
    for kept, parameter in zip(moments, discriminator.parameters(), strict=True):
        assert all(torch.equal(kept[k], v) for k, v in optimiser.state[parameter].items())
    assert all(p.grad is None or not p.grad.isnan().any() for p in discriminator.parameters())


def test_steps_as_functions_are_the_optimisers_steps() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimiser = torch.optim.Adam([weight], lr=0.05, betas=(0.5, 0.9), eps=1e-8, fused=True)

    def loss(values: Tensor) -> Tensor:
        return (values - torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)).pow(4).sum()

    def step() -> None:
        optimiser.zero_grad()
        loss(weight).backward()
        optimiser.step()

    step()
    state = AdamState.of(optimiser, {"w": weight})
    values = {"w": weight.detach().clone()}
    ahead = unroll(lambda p: loss(p["w"]), values, state, steps=3, lr=0.05, betas=(0.5, 0.9), eps=1e-8)
    for _ in range(3):
        step()
    assert torch.allclose(ahead["w"], weight, rtol=1e-10)
    assert state.steps == 1.0


def test_a_gradient_of_nought_does_not_make_the_second_derivative_infinite() -> None:
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    zero = AdamState(mean={"w": torch.zeros(2)}, square={"w": torch.zeros(2)}, steps=0.0)
    moved, _state = adam_step({"w": weight}, {"w": weight * 0.0}, zero, lr=0.1, betas=(0.5, 0.9), eps=1e-8)
    (found,) = torch.autograd.grad(moved["w"].sum(), [weight])
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.0}, "gradient penalty"),
        ({"loss": "wgan-gp"}, "gradient penalty"),
        ({"n_critic": 2}, "two answers"),
    ],
)
def test_what_it_does_not_go_with_is_refused(options: dict[str, Any], message: str) -> None:
    config = TrainConfig(source="x", output="y", architecture="dcgan", unroll=3, **options)
    facts = DataFacts(count=9, size=16, channels=1, categories=0)
    with pytest.raises(ConfigError, match=message):
        FAMILY.resolve(config, facts, torch.device("cpu"))


def test_batch_norm_and_parts_of_batches_are_refused() -> None:
    generator, _discriminator = _networks()
    with pytest.raises(ConfigError, match="batch norm"):
        UnrolledLearner(generator, nn.Sequential(nn.BatchNorm2d(1)), SETTINGS, unrolled=1)
    learner = _learner(1)
    learner.micro_batch = 2
    with pytest.raises(ConfigError, match="whole batch"):
        learner._generator_step(_batch())


def test_other_families_refuse_the_option(tmp_path: Path) -> None:
    from shopgen_django.ml.data import open_source
    from shopgen_django.ml.recipe import make_recipe
    from tests.ml.photos import make_folder, tiny

    config = tiny(make_folder(tmp_path / "photos", 4), tmp_path / "run", unroll=2)
    with pytest.raises(ConfigError, match="--unroll is an option of --architecture dcgan, not of modern"):
        make_recipe(config, open_source(config))
