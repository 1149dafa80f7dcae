"""Networks of every size and kind, the step that trains them, and the warm start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopgen_django.ml.config import base_side
from shopgen_django.ml.data import Pictures, load_pictures, open_source
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families import MODULES, get_family
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import DataFacts, Generator, Learner
from shopgen_django.ml.feed import Feed
from shopgen_django.ml.networks import forward_flops
from shopgen_django.ml.recipe import Recipe, make_recipe
from shopgen_django.ml.warm import Describer
from tests.ml.photos import make_folder, tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


GENERATORS = tuple(name for name in MODULES if get_family(name).purpose == "generate")


def set_up(source: Path, output: Path, **values: Any) -> tuple[Recipe, Pictures, Learner, Feed]:
    """A learner of a small run with its feed, before the first step."""
    output.mkdir(exist_ok=True)
    config = tiny(source, output, **values)
    opened = open_source(config)
    pictures = load_pictures(opened, config, output)
    recipe = make_recipe(config, opened, len(pictures.images))
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, pictures)
    return recipe, pictures, learner, Feed(pictures, recipe.config, recipe.facts, recipe.device)


def _game(source: Path, output: Path, **values: Any) -> tuple[Recipe, Pictures, AdversarialLearner, Feed]:
    recipe, pictures, learner, feed = set_up(source, output, **values)
    assert isinstance(learner, AdversarialLearner)
    return recipe, pictures, learner, feed


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [16, 28, 32, 48, 64, 128])
@pytest.mark.parametrize("name", GENERATORS)
def test_every_size_and_channel_count(name: str, size: int, channels: int) -> None:
    family = get_family(name)
    facts = DataFacts(count=10, size=size, channels=channels, categories=2)
    device = torch.device("cpu")
    config = tiny(Path("x"), Path("y"), architecture=name, size=size)
    config = config.filled({**family.resolve(config, facts, device), "loss": family.losses[0], "conditional": True})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, channels, size, size), dtype=np.uint8)
    pictures = Pictures(images=images, labels=np.arange(10) % 2, categories=("a", "b"), manifest={})
    learner = family.create(config, facts, device, pictures)
    labels = torch.tensor([0, 1, 1])
    assert isinstance(learner.generator, Generator)
    made = learner.generator(learner.generator.draw(torch.Generator().manual_seed(0), labels), labels)
    assert made.shape == (3, channels, size, size)
    assert torch.isfinite(made).all()
    if isinstance(learner, AdversarialLearner):
        assert learner.discriminator(made, labels).shape == (3,)


@pytest.mark.parametrize(("architecture", "loss"), [(n, loss) for n in MODULES for loss in get_family(n).losses])
@pytest.mark.parametrize("conditional", [True, False])
def test_a_step_of_every_loss_moves_both_networks(
    architecture: str, loss: str, conditional: bool, source: Path, tmp_path: Path
) -> None:
    _recipe, _pictures, learner, feed = set_up(
        source, tmp_path, architecture=architecture, loss=loss, conditional=conditional, warm_images=0
    )
    before = {n: [p.clone() for p in m.parameters()] for n, m in learner.modules().items()}
    rhythm = learner.settings.critic_steps if isinstance(learner, AdversarialLearner) else 1
    for step in range(rhythm):
        figures = learner.step(feed.batch(step))
        assert ("loss_g" in figures) == (step == rhythm - 1)
        assert all(torch.isfinite(value) for value in figures.values())
    for name, module in learner.modules().items():
        trained = list(zip(before[name], module.parameters(), strict=True))
        assert not trained or any(not torch.equal(a, b) for a, b in trained), name


@pytest.mark.parametrize("name", MODULES)
def test_operations_of_a_step_are_counted_and_models_can_be_built_again(
    name: str, source: Path, tmp_path: Path
) -> None:
    recipe, _pictures, learner, feed = set_up(source, tmp_path, architecture=name)
    assert learner.flops_per_image() > 0
    assert learner.generator.training
    spec = json.loads(json.dumps(recipe.family.spec(recipe.config, recipe.facts)))
    again = recipe.family.build_generator(spec)
    again.load_state_dict(learner.generator.state_dict())
    learner.step(feed.batch(0))


def test_losses_of_another_architecture_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--loss rp is not for --architecture dcgan; it has: ns, minimax, lsgan"):
        _game(source, tmp_path, architecture="dcgan", loss="rp")


def test_unknown_architectures_are_listed() -> None:
    with pytest.raises(ConfigError, match="modern, dcgan, vae, denoiser"):
        get_family("pixels")


@pytest.mark.parametrize("size", [17, 44, 100, 8, 2048])
def test_sizes_that_can_not_be_built_name_their_neighbours(size: int) -> None:
    with pytest.raises(ConfigError, match=r"try \d+ or \d+"):
        base_side(size)


def test_the_warm_start_comes_before_the_game_and_learns_to_redraw(source: Path, tmp_path: Path) -> None:
    _recipe, _pictures, learner, feed = _game(source, tmp_path, warm_images=200, width=8)
    first = learner.step(feed.batch(0))
    assert set(first) == {"redraw", "grad_norm_g"}
    d_before = [p.clone() for p in learner.discriminator.parameters()]
    for step in range(1, 50):
        last = learner.step(feed.batch(step))
    assert float(last["redraw"]) < 0.7 * float(first["redraw"])
    assert all(torch.equal(a, b) for a, b in zip(d_before, learner.discriminator.parameters(), strict=True))
    g_before = [p.clone() for p in learner.generator.parameters()]
    figures = learner.step(feed.batch(50))  # 200 pictures: only the discriminator
    assert "loss_g" not in figures
    assert all(torch.equal(a, b) for a, b in zip(g_before, learner.generator.parameters(), strict=True))
    assert "loss_g" in learner.step(feed.batch(63))


def test_codes_describe_photos_with_unit_variance_within_their_category(source: Path, tmp_path: Path) -> None:
    _recipe, pictures, _learner, _feed = _game(source, tmp_path)
    labels = torch.from_numpy(pictures.labels)
    describer = Describer(channels=3, categories=2, components=4)
    describer.fit(pictures.images, pictures.labels, flip=False)
    codes = describer.codes(pictures.images, labels)
    for label in range(2):
        assert codes[labels == label].mean(dim=0).abs().max() < 0.3
    spread = codes.square().mean(dim=0)
    assert ((spread > 0.5) & (spread < 1.5)).all()


def test_random_vectors_after_a_warm_start_stay_near_blends_of_like_photos(source: Path, tmp_path: Path) -> None:
    _recipe, _pictures, learner, _feed = _game(source, tmp_path)
    generator = learner.generator
    codes = generator.codes[generator.code_labels == 1]  # type: ignore[index]
    drawn = generator.draw(torch.Generator().manual_seed(0), torch.ones(50, dtype=torch.int64))
    low, high = codes.min(dim=0).values - 0.5, codes.max(dim=0).values + 0.5
    assert ((drawn[:, : codes.shape[1]] >= low) & (drawn[:, : codes.shape[1]] <= high)).all()
    assert drawn.std(dim=0).min() > 0.05
    middle = generator.draw(torch.Generator().manual_seed(0), torch.ones(50, dtype=torch.int64), 0.0)
    assert middle.abs().max() < drawn.abs().max()


def test_categories_steer_the_generator_and_the_discriminator(source: Path, tmp_path: Path) -> None:
    _recipe, _pictures, learner, feed = _game(source, tmp_path, warm_images=0)
    for step in range(10):
        learner.step(feed.batch(step))
    z = torch.randn(1, 8)
    one, other = (learner.generator(z, torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(one, other)
    assert not torch.equal(learner.discriminator(one, torch.tensor([0])), learner.discriminator(one, torch.tensor([1])))


def test_made_pictures_get_the_labels_of_the_real_ones(source: Path, tmp_path: Path) -> None:
    _recipe, _pictures, learner, feed = _game(source, tmp_path, warm_images=0)
    seen: list[torch.Tensor] = []
    hook = learner.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    batch = feed.batch(0)
    learner.step(batch)
    hook.remove()
    assert torch.equal(seen[0], torch.cat([batch.labels, batch.labels]))
    assert torch.equal(seen[1], batch.labels_again)
    assert torch.equal(seen[2], batch.labels_again)


def test_batches_are_a_function_of_the_step_and_show_every_photo(source: Path, tmp_path: Path) -> None:
    _recipe, pictures, _learner, feed = _game(source, tmp_path, flip=False)
    again = Feed(pictures, _recipe.config, _recipe.facts, torch.device("cpu"))
    assert torch.equal(feed.batch(7).real, again.batch(7).real)
    assert not torch.equal(feed.batch(7).real, feed.batch(7).real_again)
    epoch = torch.cat([feed.batch(step).real for step in range(3)])
    expected = torch.from_numpy(pictures.images).float() / 127.5 - 1.0
    distances = torch.cdist(epoch.flatten(1), expected.flatten(1))
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(12))
    assert epoch.min() >= -1.0
    assert epoch.max() <= 1.0


def test_flipping_mirrors_about_half(source: Path, tmp_path: Path) -> None:
    _recipe, pictures, _learner, feed = _game(source, tmp_path)
    plain = Feed(pictures, replace(_recipe.config, flip=False), _recipe.facts, torch.device("cpu"))
    kept = mirrored = 0
    for step in range(30):
        for a, b in zip(feed.batch(step).real, plain.batch(step).real, strict=True):
            kept += int(torch.equal(a, b))
            mirrored += int(torch.equal(a, b.flip(2)))
    assert kept + mirrored >= 120
    assert 30 < kept < 90


def test_operations_are_counted_from_shapes() -> None:
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert forward_flops(conv, torch.zeros(2, 3, 10, 10))[0] == 2 * 8 * 3 * 9 * 100
    up = torch.nn.ConvTranspose2d(4, 6, 4, 2, 1)
    assert forward_flops(up, torch.zeros(1, 4, 5, 5))[0] == 2 * 4 * 6 * 16 * 25
    assert forward_flops(torch.nn.Linear(7, 5), torch.zeros(3, 7))[0] == 2 * 35


def test_mixed_precision_trains_and_stays_close_to_full_precision(source: Path, tmp_path: Path) -> None:
    """bf16 on a CPU is slow, but it is the same code that a GPU runs."""
    losses = {}
    for precision in ("fp32", "bf16"):
        (tmp_path / precision).mkdir()
        _r, _p, learner, feed = _game(source, tmp_path / precision, precision=precision, warm_images=0)
        figures = [learner.step(feed.batch(step)) for step in range(20)]
        assert all(torch.isfinite(value) for step in figures for value in step.values())
        assert all(p.dtype == torch.float32 for p in learner.generator.parameters())
        losses[precision] = float(torch.stack([f["loss_d"] for f in figures[:5]]).mean())
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
