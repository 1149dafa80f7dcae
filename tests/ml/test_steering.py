"""Augmentation that follows the discriminator: which way it goes, what it sees, and that it survives a pause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shopgen_django.ml.augment import Augment, choose, held_out_count, policy, settle_augment
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures, hold_out
from shopgen_django.ml.errors import ConfigError, DatasetError
from shopgen_django.ml.families.adversarial import AdversarialLearner, GameSettings
from shopgen_django.ml.families.base import Generator
from shopgen_django.ml.feed import Feed
from shopgen_django.ml.loop import train
from shopgen_django.ml.losses import LOSSES
from shopgen_django.ml.recipe import make_recipe
from shopgen_django.ml.seeding import generator as seeded
from shopgen_django.ml.steering import EVERY, IMAGES_PER_UNIT, STRONGEST, Steering

SIZE = 16


def some_pictures(count: int, held_out: int = 0) -> Pictures:
    """Grey levels that tell a picture's number; the last ``held_out`` are held out."""
    level = (np.arange(count) * 200 // count + 20).astype(np.uint8)
    images = np.broadcast_to(level[:, None, None, None], (count, 3, SIZE, SIZE)).copy()
    return Pictures(
        images=images, labels=np.zeros(count, np.int64), categories=(), manifest={"digest": ""},
        held_out=np.arange(count - held_out, count),
    )


class Black(Generator):
    """Makes pictures of -1 only."""

    latent = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.scale * latents[:, :1, None, None].expand(-1, 3, SIZE, SIZE) - 1.0


class Judge(nn.Module):
    """Tells real from made by brightness; what is brighter than ``strange_from`` it takes for made too."""

    def __init__(self, strange_from: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.strange_from = strange_from

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        level = pictures.mean(dim=(1, 2, 3))
        real = (level > -0.99).float()
        if self.strange_from is not None:
            real = real * (level < self.strange_from).float()
        return self.weight * real + 0.0 * level


def learner_with(judge: Judge, pictures: Pictures, strength: float) -> AdversarialLearner:
    settings = GameSettings(
        loss=LOSSES["rp"], augment=Augment((), strength), gamma=0.0, lr=1e-3, betas=(0.0, 0.9), bf16=False
    )
    learner = AdversarialLearner(Black(), judge, settings)
    learner.steer(pictures, TrainConfig(source="x", output="y", batch_size=32))
    return learner


def look(learner: AdversarialLearner, times: int, first: int = 0) -> float:
    for number in range(first, first + times):
        learner.before_step(number * EVERY, 0)
    return learner.settings.augment.probability


def test_learned_by_heart_makes_it_stronger_and_not_too_strong() -> None:
    pictures = some_pictures(200, held_out=50)
    border = float(pictures.images[150, 0, 0, 0]) / 127.5 - 1.0
    learner = learner_with(Judge(strange_from=border - 1e-3), pictures, 0.2)
    assert look(learner, 10) == pytest.approx(0.2 + 10 * EVERY * 32 / IMAGES_PER_UNIT)
    assert learner.steering is not None and learner.steering.overfit == pytest.approx(1.0)
    assert look(learner, 500, first=10) == STRONGEST


def test_learned_in_general_makes_it_weaker_down_to_none() -> None:
    learner = learner_with(Judge(strange_from=None), some_pictures(200, held_out=50), 0.2)
    assert look(learner, 10) == pytest.approx(0.2 - 10 * EVERY * 32 / IMAGES_PER_UNIT)
    assert learner.steering is not None and learner.steering.overfit == pytest.approx(0.0)
    assert look(learner, 500, first=10) == 0.0


def test_it_looks_only_now_and_then_and_not_before_the_game() -> None:
    learner = learner_with(Judge(strange_from=None), some_pictures(200, held_out=50), 0.5)
    for step in range(1, EVERY):
        learner.before_step(step, 10_000)
    assert learner.settings.augment.probability == 0.5
    assert learner.steering is not None
    late = Steering(learner.settings.augment, some_pictures(200, 50), seed=0, batch=32, begin_at=1000)
    late.before_step(learner, 0, 999)
    assert late.overfit is None
    late.before_step(learner, 0, 1000)
    assert late.overfit is not None


def test_its_state_goes_on() -> None:
    pictures = some_pictures(200, held_out=50)
    one = learner_with(Judge(strange_from=None), pictures, 0.7)
    look(one, 5)
    other = learner_with(Judge(strange_from=None), pictures, 0.1)
    other.load_extra_state(one.extra_state(), {})
    assert look(other, 5, first=5) == look(one, 5, first=5)
    assert other.extra_state() == one.extra_state()


def test_held_out_photos_are_never_shown() -> None:
    pictures = hold_out(some_pictures(400), TrainConfig(augment="adaptive", seed=3))
    assert len(pictures.held_out) == held_out_count(400) == 32
    again = hold_out(some_pictures(400), TrainConfig(augment="adaptive", seed=3))
    assert np.array_equal(pictures.held_out, again.held_out)
    config = TrainConfig(source="x", output="y", batch_size=40, flip=False)
    from shopgen_django.ml.families.base import DataFacts

    facts = DataFacts(count=368, size=SIZE, channels=3, categories=0)
    feed = Feed(pictures, config, facts, torch.device("cpu"))
    level = pictures.images[:, 0, 0, 0]
    shown: set[int] = set()
    for step in range(20):
        batch = feed.batch(step)
        for part in (batch.real, batch.real_again):
            shown |= set(part[:, 0, 0, 0].add(1).mul(127.5).round().int().tolist())
    only_held_out = set(level[pictures.held_out].tolist()) - set(level[pictures.trained_on].tolist())
    assert not shown & only_held_out
    assert len(hold_out(some_pictures(400), TrainConfig(augment="fixed")).held_out) == 0
    with pytest.raises(DatasetError, match="--augment fixed"):
        hold_out(some_pictures(40), TrainConfig(augment="adaptive"))


@pytest.mark.parametrize(
    ("count", "steered", "wanted"),
    [(319, True, "fixed"), (320, True, "adaptive"), (320, False, "fixed"), (100_000, True, "fixed")],
)
def test_auto(count: int, steered: bool, wanted: str) -> None:
    assert settle_augment("auto", count=count, steered=steered) == wanted
    assert settle_augment("off", count=count, steered=steered) == "off"


def test_which_changes() -> None:
    assert choose("off", 100, 3).probability == 0.0
    assert (choose("fixed", 3000, 3).names, choose("fixed", 3000, 3).probability) == policy(3000, 3)
    assert choose("adaptive", 3000, 3).names == policy(100, 3)[0]
    assert "colour" not in choose("adaptive", 3000, 1).names


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("steered") / "photos.npz"
    np.savez(path, images=rng.integers(0, 255, (330, SIZE, SIZE, 3), dtype=np.uint8))
    return path


def test_a_run_that_was_stopped_ends_with_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        source=str(archive), output=str(tmp_path / "whole"), batch_size=8, width=4, latent=8, warm_images=8,
        images_seen=8 * 3 * EVERY, threads=1, size=SIZE,
    )
    whole = train(config)
    assert 0.0 < whole.latest["augment"] < STRONGEST and "overfit_d" in whole.latest
    parts = replace(config, output=str(tmp_path / "parts"))
    train(replace(parts, images_seen=8 * (EVERY + 3)))
    train(parts)
    ours, theirs = ((tmp_path / name / "state.safetensors").read_bytes() for name in ("whole", "parts"))
    cut = 8 + int.from_bytes(ours[:8], "little")
    assert ours[cut:] == theirs[8 + int.from_bytes(theirs[:8], "little") :]


def test_not_where_nobody_can_be_asked(archive: Path, tmp_path: Path) -> None:
    from shopgen_django.ml.data import open_source

    config = TrainConfig(source=str(archive), output=str(tmp_path), augment="adaptive", architecture="vae")
    with pytest.raises(ConfigError, match="--augment fixed"):
        make_recipe(config, open_source(config))


def test_both_players_see_changed_pictures_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real and made ones in the discriminator's step, made and (for a paired loss) real ones in the generator's."""
    pictures = some_pictures(64)
    learner = learner_with(Judge(strange_from=None), some_pictures(200, held_out=50), 0.5)
    seen: list[Tensor] = []

    def record(self: Augment, given: Tensor, rng: object) -> Tensor:
        seen.append(given.detach())
        return given

    monkeypatch.setattr(Augment, "__call__", record)
    config = TrainConfig(source="x", output="y", batch_size=8, flip=False)
    from shopgen_django.ml.families.base import DataFacts

    feed = Feed(pictures, config, DataFacts(count=64, size=SIZE, channels=3, categories=0), torch.device("cpu"))
    batch = feed.batch(0)
    learner.step(batch)
    both, made, again = seen
    assert torch.equal(both[:8], batch.real) and bool((both[8:] == -1).all())
    assert bool((made == -1).all()) and torch.equal(again, batch.real_again)


@pytest.mark.parametrize("name", ["brightness", "colour", "translate", "cutout"])
def test_nothing_leaks_at_the_strongest(name: str) -> None:
    """A generator of one brightness, taught by a discriminator that sees changed pictures only, finds the photos'."""
    torch.manual_seed(0)
    augment = Augment((name,), STRONGEST)
    level = nn.Parameter(torch.tensor([0.6]))
    judge = nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    optimisers = [torch.optim.Adam([level], lr=5e-3, betas=(0.0, 0.9)),
                  torch.optim.Adam(judge.parameters(), lr=5e-3, betas=(0.0, 0.9))]
    target, history = -0.2, []

    def describe(pictures: Tensor) -> Tensor:
        flat = pictures.flatten(1)
        return torch.stack([flat.mean(1), flat.square().mean(1), flat.abs().amax(1), flat[:, 128]], dim=1)

    for step in range(500):
        rng = seeded(0, "leak", step)
        real = target + 0.1 * torch.randn(32, 3, 8, 8, generator=rng)
        noise = 0.1 * torch.randn(32, 3, 8, 8, generator=rng)
        both = describe(augment(torch.cat([real, level.detach() + noise]), rng))
        logits = judge(both)
        penalty = sum(p.square().sum() for p in judge.parameters())
        loss = nn.functional.softplus(logits[32:] - logits[:32]).mean() + 1e-3 * penalty
        optimisers[1].zero_grad()
        loss.backward()
        optimisers[1].step()
        made = judge(describe(augment(level + noise, rng)))
        optimisers[0].zero_grad()
        nn.functional.softplus(-made).mean().backward()
        optimisers[0].step()
        history.append(float(level.detach()))
    # 5 % of the range -1..1.
    assert float(np.mean(history[-150:])) == pytest.approx(target, abs=0.1)
