"""The discriminator's private step: whose gradient it is, how long it may be, how much noise goes on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families import get_family
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import Batch, DataFacts
from shopgen_django.ml.losses import LOSSES
from shopgen_django.ml.privacy import learner as private
from shopgen_django.ml.privacy.learner import SINGLE_LOSSES, Pace, PrivateLearner
from shopgen_django.ml.privacy.plan import Plan
from shopgen_django.ml.privacy.rules import private_choices
from shopgen_django.ml.seeding import generator as seeded

SECRET = b"k" * 32
CPU = torch.device("cpu")


def plan(noise: float = 1.0, clip: float = 1.0, steps: int = 1_000) -> Plan:
    return Plan(
        epsilon=8.0,
        delta=1e-5,
        noise=noise,
        clip=clip,
        sample_rate=0.1,
        steps=steps,
        units=100,
        pictures=100,
        named=True,
    )


def game(architecture: str = "dcgan", loss: str = "ns") -> AdversarialLearner:
    facts = DataFacts(count=40, size=16, channels=3, categories=2)
    config = private_choices(
        TrainConfig(
            architecture=architecture, size=16, channels=3, width=4, latent=8, batch_size=4, loss=loss, dp_epsilon=8.0
        ),
        40,
    )
    family = get_family(architecture)
    config = config.filled(family.resolve(config, facts, CPU))
    nothing = Pictures(
        images=np.zeros((0, 3, 16, 16), dtype=np.uint8), labels=np.zeros(0, dtype=np.int64), categories=(), manifest={}
    )
    made = family.create(config, facts, CPU, nothing)
    assert isinstance(made, AdversarialLearner)
    return made


def learner(the_plan: Plan | None = None, **keywords: Any) -> PrivateLearner:
    made = PrivateLearner(game(**keywords), categories=2, batch=4, pace=1)
    made.hold(SECRET)
    made.begin(the_plan or plan())
    return made


def batch(count: int, step: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(step)
    real = torch.rand(count, 3, 16, 16, generator=rng) * 2.0 - 1.0
    labels = torch.arange(count) % 2
    return Batch(
        real=real,
        labels=labels,
        real_again=real[:0],
        labels_again=labels[:0],
        rng=seeded(0, "step", step),
        images_seen=0,
    )


def freeze(made: PrivateLearner) -> None:
    """Let the discriminator's steps leave its weights alone."""
    made._inner.param_groups[0]["lr"] = 0.0


def summed(made: PrivateLearner, pictures: Tensor, labels: Tensor, *, fakes: int = 0) -> Tensor:
    """The sum of clipped gradients before noise, as one vector."""
    made._d_optimiser.zero_grad(set_to_none=True)
    made._accumulate(pictures, labels, made=fakes)
    return torch.cat([p.summed_grad.flatten() for p in made._d_parameters])


def one_by_one(made: PrivateLearner, pictures: Tensor, labels: Tensor, fakes: int) -> dict[str, Tensor]:
    """Gradients of single pictures, each from a pass of its own."""
    parameters = dict(made.discriminator.named_parameters())
    rows = []
    for index in range(len(pictures)):
        logit = made.discriminator(pictures[index : index + 1], labels[index : index + 1])
        loss = (made._fake_loss if index < fakes else made._real_loss)(logit).sum()
        rows.append(torch.autograd.grad(loss, list(parameters.values())))
    return {name: torch.stack(found) for name, found in zip(parameters, zip(*rows, strict=True), strict=True)}


def by_vmap(made: PrivateLearner, pictures: Tensor, labels: Tensor, fakes: int) -> dict[str, Tensor]:
    """The same by vmap over grad."""
    made._hooks.remove_hooks()
    parameters = {name: p.detach() for name, p in made.discriminator.named_parameters()}

    def one(values: dict[str, Tensor], picture: Tensor, label: Tensor, is_fake: Tensor) -> Tensor:
        logit = functional_call(made.discriminator, values, (picture[None], label[None]))
        return torch.where(is_fake, made._fake_loss(logit), made._real_loss(logit)).sum()

    is_fake = torch.arange(len(pictures)) < fakes
    return dict(vmap(grad(one), in_dims=(None, 0, 0, 0))(parameters, pictures, labels, is_fake))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(
    ("architecture", "another_way"), [("dcgan", by_vmap), ("dcgan", one_by_one), ("modern", one_by_one)]
)
def test_gradients_of_single_pictures_are_right(
    architecture: str, another_way: Callable[[PrivateLearner, Tensor, Tensor, int], dict[str, Tensor]]
) -> None:
    """The networks work on channels-last memory, which Opacus alone gets wrong."""
    made = learner(architecture=architecture)
    real = batch(6)
    made._hooks.enable_hooks()
    real.real.requires_grad_()
    logits = made.discriminator(real.real, real.labels)
    torch.cat([made._fake_loss(logits[:2]), made._real_loss(logits[2:])]).sum().backward()
    made._hooks.disable_hooks()
    found = {name: p.grad_sample.clone() for name, p in made.discriminator.named_parameters()}
    for name, gradient in another_way(made, real.real.detach(), real.labels, 2).items():
        assert found[name].numpy() == pytest.approx(gradient.numpy(), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("name", sorted(SINGLE_LOSSES))
def test_losses_of_single_pictures_are_the_terms_of_the_mean(name: str) -> None:
    real, fake = torch.tensor([-3.0, 0.2, 4.0]), torch.tensor([-2.0, 0.1, 5.0])
    real_loss, fake_loss = SINGLE_LOSSES[name]
    assert real_loss(real).mean() + fake_loss(fake).mean() == pytest.approx(
        float(LOSSES[name].discriminator(real, fake)), abs=1e-6
    )
    assert not LOSSES[name].paired


@pytest.mark.parametrize("clip", [0.01, 0.5])
def test_one_picture_moves_the_sum_by_no_more_than_the_clip(clip: float) -> None:
    made = learner(plan(clip=clip))
    real = batch(8)
    whole = summed(made, real.real, real.labels, fakes=3)
    moved = []
    for left_out in range(3, 8):
        rest = [i for i in range(8) if i != left_out]
        without = summed(made, real.real[rest], real.labels[rest], fakes=3)
        moved.append(float((whole - without).norm()))
    assert max(moved) <= clip * (1 + 1e-5)
    if clip == 0.01:
        assert min(moved) == pytest.approx(clip, rel=1e-3)  # the bound is reached: clipping was at work


def test_a_monstrous_picture_moves_it_no_further() -> None:
    made = learner(plan(clip=1.0))
    real = batch(4)
    whole = summed(made, real.real, real.labels)
    real.real[3] *= 1e6
    spoiled = summed(made, real.real, real.labels)
    assert torch.isfinite(spoiled).all()
    assert float((whole - spoiled).norm()) <= 2.0 * (1 + 1e-5)


def test_parts_give_the_same_sum_and_are_noised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, many = learner(), learner()
    many.micro_batch = 3
    real = batch(8)
    assert summed(many, real.real, real.labels, fakes=4) == pytest.approx(
        summed(one, real.real, real.labels, fakes=4).numpy(), rel=1e-5, abs=1e-6
    )
    drawn: list[int] = []
    original = private.normals
    monkeypatch.setattr(private, "normals", lambda *a: drawn.append(a[2]) or original(*a))
    many.step(batch(8))
    assert drawn == [0]


def test_without_noise_and_clipping_it_is_the_ordinary_step() -> None:
    made, plain = learner(plan(noise=1e-15, clip=1e6)), game()
    start = {name: p.detach().clone() for name, p in made.discriminator.named_parameters()}
    real = batch(4)
    seen: dict[str, Any] = {}
    accumulate = made._accumulate

    def remember(pictures: Tensor, labels: Tensor, *, made: int) -> Tensor:
        seen.update(pictures=pictures, labels=labels, made=made)
        return accumulate(pictures, labels, made=made)

    made._accumulate = remember  # type: ignore[method-assign]
    made.step(real)
    optimiser = torch.optim.Adam(plain.discriminator.parameters(), lr=plain.settings.lr, betas=(0.5, 0.999), fused=True)
    plain.discriminator.load_state_dict(start)
    logits = plain.discriminator(seen["pictures"], seen["labels"])
    loss = plain.settings.loss.discriminator(logits[seen["made"] :], logits[: seen["made"]])
    (0.5 * loss).backward()  # the private step divides by all pictures, the ordinary one by each kind's number
    optimiser.step()
    moved = 0.0
    for name, parameter in plain.discriminator.named_parameters():
        ours = dict(made.discriminator.named_parameters())[name]
        assert ours.detach().numpy() == pytest.approx(parameter.detach().numpy(), rel=1e-5, abs=1e-5), name
        moved = max(moved, float((ours.detach() - start[name]).abs().max()))
    assert moved > 1e-5


def test_noise_has_the_length_it_was_planned_with() -> None:
    noise, clip = 3.0, 0.25
    made = learner(plan(noise=noise, clip=clip))
    real = batch(4)
    exact = summed(made, real.real, real.labels)
    freeze(made)
    draws = []
    size = len(exact)
    for step in range(-(-10_000 // size) + 1):
        summed(made, real.real, real.labels)
        made._d_optimiser.take_step(SECRET, step)
        noised = torch.cat([p.grad.flatten() for p in made._d_parameters]) * made._d_optimiser.expected_batch_size
        draws.append((noised - exact).numpy())
    values = np.concatenate(draws)
    assert len(values) >= 10_000
    assert values.std() == pytest.approx(noise * clip, rel=0.02)
    assert abs(values.mean()) < 4 * noise * clip / np.sqrt(len(values))
    assert len({round(float(v[0]), 9) for v in draws}) == len(draws)


def test_an_empty_batch_is_noised_all_the_same() -> None:
    made = learner()
    before = [p.detach().clone() for p in made._d_parameters]
    figures = made.step(batch(0))
    assert made.ledger.steps == 1
    assert all(torch.isfinite(v) for v in figures.values())
    assert all(not torch.equal(a, b) for a, b in zip(before, made._d_parameters, strict=True))


def test_a_private_step_is_repeated_exactly_and_only_with_the_secret() -> None:
    def after(secret: bytes) -> list[Tensor]:
        made = learner()
        made.hold(secret)
        for step in range(3):
            made.step(batch(5, step))
        return [p.detach().clone() for p in (*made._d_parameters, *made._g_parameters)]

    first, again, other = after(SECRET), after(SECRET), after(b"o" * 32)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_generator_learns_from_the_discriminator_alone() -> None:
    """With the same discriminator, other photos must give the same generator: its step is post-processing."""

    def generator_after(real: Batch) -> list[Tensor]:
        made = learner()
        freeze(made)  # photos could only reach the generator past the discriminator now
        made.step(real)
        return [p.detach().clone() for p in made._g_parameters]

    first, other = generator_after(batch(6, 0)), batch(3, 0)
    other.real.neg_()
    assert all(torch.equal(a, b) for a, b in zip(first, generator_after(other), strict=True))


def test_figures_say_nothing_of_photos_unless_asked() -> None:
    quiet = set(learner().step(batch(4)))
    assert quiet == {"fake_logit", "fakes_right", "steps_per_g", "grad_norm_d", "loss_g", "grad_norm_g"}
    loud = PrivateLearner(game(), categories=2, batch=4, pace=1, look=True)
    loud.hold(SECRET)
    loud.begin(plan())
    assert set(loud.step(batch(4))) == quiet | {"real_logit", "loss_d"}


def test_the_pace_follows_made_pictures_only() -> None:
    pace = Pace()
    assert [pace.observe(1.0) for _ in range(300)] == [True] * 300
    assert pace.every == 1
    turns = sum(pace.observe(0.5) for _ in range(2_000))
    assert pace.every > 2
    assert turns < 1_000
    high = pace.every
    for _ in range(4_000):
        pace.observe(1.0)
    assert pace.every < high
    again = Pace()
    again.load(pace.state())
    assert again.state() == pace.state()
    fixed = Pace(3)
    assert [fixed.observe(0.0) for _ in range(6)] == [False, False, True] * 2


class _Coupled(nn.Module):
    """A discriminator that looks at the batch as a whole in one of the usual ways."""

    def __init__(self, mix: Callable[[Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = norm if norm is not None else nn.Identity()
        self.out = nn.Linear(4, 1)
        self._mix = mix

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        h = self._mix(self.norm(self.conv(pictures)).mean(dim=(2, 3)))
        logit: Tensor = self.out(h).flatten()
        return logit


@pytest.mark.parametrize(
    "network",
    [
        _Coupled(lambda h: h.square(), nn.BatchNorm2d(4)),
        _Coupled(lambda h: h + h.std(dim=0, keepdim=True)),  # minibatch standard deviation
        _Coupled(lambda h: h + h.roll(1, dims=0)),  # packed pictures
    ],
    ids=["batch norm", "minibatch statistics", "packing"],
)
def test_a_discriminator_that_couples_pictures_is_refused(network: nn.Module) -> None:
    made = game()
    made.discriminator = network
    with pytest.raises(ConfigError, match="pictures of a batch together"):
        PrivateLearner(made, categories=2, batch=4)


def test_a_network_with_statistics_that_opacus_cannot_handle_is_refused() -> None:
    made = game()
    made.discriminator = _Coupled(lambda h: h, nn.BatchNorm2d(4)).eval()
    with pytest.raises(ConfigError, match="Opacus"):
        PrivateLearner(made, categories=2, batch=4)
