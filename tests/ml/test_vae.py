"""The VAE: its terms are what the formulas say, it redraws photos, and sampling passes through the second stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopgen_django.ml.data import Pictures, load_pictures, open_source
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families.vae import VaeLearner
from shopgen_django.ml.families.vae_networks import Likelihood, VaeGenerator, gaussian_kl, to_picture
from shopgen_django.ml.feed import Feed
from shopgen_django.ml.loop import train
from shopgen_django.ml.recipe import make_recipe
from shopgen_django.ml.sample import load_generator, load_network
from tests.ml.photos import make_folder, tiny

FASHION = Path(__file__).resolve().parents[1] / "data" / "fashion_mnist_900" / "fmnist900.npz"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


def _set_up(source: Path, output: Path, **values: Any) -> tuple[VaeLearner, Feed]:
    config = tiny(source, output, architecture="vae", warm_images=None, **values)
    opened = open_source(config)
    pictures = load_pictures(opened, config, output)
    recipe = make_recipe(config, opened, len(pictures.images))
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, pictures)
    assert isinstance(learner, VaeLearner)
    return learner, Feed(pictures, recipe.config, recipe.facts, recipe.device)


def test_the_kl_term_is_what_monte_carlo_finds() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    log_variance = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    noise = torch.randn(200_000, 4, 6, generator=rng, dtype=torch.float64)
    values = mean + (0.5 * log_variance).exp() * noise
    log_ratio = 0.5 * (values.square() - noise.square() - log_variance)
    expected = log_ratio.mean(dim=0).sum(dim=1)
    assert torch.allclose(gaussian_kl(mean, log_variance).sum(dim=1), expected, rtol=0.01)
    assert gaussian_kl(torch.zeros(3), torch.zeros(3)).abs().max() == 0.0


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_likelihoods_are_densities_and_their_width_is_learned(kind: str) -> None:
    likelihood = Likelihood(kind)
    grid = torch.linspace(-40.0, 40.0, 80_001).view(-1, 1, 1, 1)
    density = (-likelihood(torch.zeros_like(grid), grid)).exp().sum().item() * 0.001
    assert density == pytest.approx(1.0, abs=1e-3)
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    real = 0.2 * torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    for _ in range(100):
        optimiser.zero_grad()
        likelihood(torch.zeros_like(real), real).mean().backward()
        optimiser.step()
    best = real.square().mean().sqrt() if kind == "gaussian" else real.abs().mean()
    assert likelihood.log_width.detach().exp().item() == pytest.approx(float(best), rel=0.02)


def test_cross_entropy_is_that_of_the_pictures_brightness() -> None:
    likelihood = Likelihood("bernoulli")
    drawn, real = torch.tensor([[[[2.0]]]]), torch.tensor([[[[0.5]]]])
    p = 1.0 / (1.0 + math.exp(-2.0))
    assert float(likelihood(drawn, real)) == pytest.approx(-0.75 * math.log(p) - 0.25 * math.log(1.0 - p), rel=1e-5)
    assert float(to_picture(drawn, "bernoulli")) == pytest.approx(2.0 * p - 1.0, rel=1e-5)
    assert not list(likelihood.parameters())


def test_the_kl_term_comes_in_slowly_and_free_bits_are_not_charged(source: Path, tmp_path: Path) -> None:
    learner, feed = _set_up(source, tmp_path, kl_warmup=100, free_bits=0.0, second_stage=False)
    assert [learner.weight_of_kl(seen) for seen in (0, 25, 100, 900)] == [0.0, 0.25, 1.0, 1.0]
    batch = feed.batch(50)
    place = batch.rng.get_state()
    _loss, figures = learner._loss(batch)
    pixels = 3 * 16 * 16
    expected = (float(figures["reconstruction"]) + float(figures["kl"])) / pixels
    assert float(figures["loss_g"]) == pytest.approx(expected, rel=1e-5)
    assert float(figures["elbo"]) == pytest.approx(-expected * pixels, rel=1e-5)
    learner.free_bits = 100.0
    batch.rng.set_state(place)
    loss, _figures = learner._loss(batch)
    (slope,) = torch.autograd.grad(loss, [learner.encoder.log_variance.bias], retain_graph=True)
    learner.weight_of_kl = lambda images_seen: 0.0  # type: ignore[method-assign]
    batch.rng.set_state(place)
    (without,) = torch.autograd.grad(learner._loss(batch)[0], [learner.encoder.log_variance.bias])
    assert torch.allclose(slope, without, atol=1e-9)


def test_the_second_stage_does_not_reach_the_first(source: Path, tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    both, feed = _set_up(source, tmp_path / "with")
    alone, _feed = _set_up(source, tmp_path / "without", second_stage=False)
    for name in ("decoder",):
        getattr(alone.generator, name).load_state_dict(getattr(both.generator, name).state_dict())
    alone.encoder.load_state_dict(both.encoder.state_dict())
    both.step(feed.batch(0))
    alone.step(feed.batch(0))
    for one, other in ((both.encoder, alone.encoder), (both.generator.decoder, alone.generator.decoder)):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


def test_sampling_goes_through_the_second_stage_and_knows_categories(source: Path, tmp_path: Path) -> None:
    train(tiny(source, tmp_path / "run", architecture="vae", warm_images=None))
    loaded = load_generator(tmp_path / "run")
    hats, bags = (np.asarray(loaded.sample(1, category=name)[0]) for name in ("hats", "bags"))
    assert (hats != bags).any()
    network, card, _device = load_network(tmp_path / "run")
    assert card["purpose"] == "generate"
    assert isinstance(network, VaeGenerator)
    assert (network.codes, network.latent) == (8, 16)
    assert network.second is not None
    label = torch.tensor([0])
    vectors = network.draw(torch.Generator().manual_seed(0), label)
    before = network(vectors, label)
    assert torch.allclose(before, network.decoder(_passed_on(network, vectors, label), label))
    network.second.layers.last.bias.data.add_(3.0)
    assert not torch.allclose(before, network(vectors, label))


def _passed_on(network: VaeGenerator, vectors: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """What the second stage makes of random numbers."""
    assert network.second is not None
    drawn: torch.Tensor = network.second(vectors[:, :8], label)
    return drawn + network.second.log_width.exp() * vectors[:, 8:]


def test_options_of_the_vae_are_checked(source: Path, tmp_path: Path) -> None:
    for values, message in (
        ({"likelihood": "poisson"}, "--likelihood is 'poisson'; it must be one of gaussian, laplace, bernoulli"),
        ({"loss": "ns"}, "--loss ns is not for --architecture vae; it has: elbo"),
    ):
        with pytest.raises(ConfigError, match=message):
            _set_up(source, tmp_path, **values)


def test_it_redraws_pictures_it_has_not_seen_and_uses_its_numbers(tmp_path: Path) -> None:
    """A short run on garments at 28 px; the figures of a long one are in the documentation."""
    config = tiny(
        FASHION, tmp_path, architecture="vae", size=28, width=8, latent=16, batch_size=16, lr=3e-3,
        likelihood="gaussian", kl_warmup=1_000, warm_images=None,
    )  # fmt: skip
    opened = open_source(config)
    pictures = load_pictures(opened, config, tmp_path)
    held_out = np.arange(0, len(pictures.images), 9)
    shown = np.setdiff1d(np.arange(len(pictures.images)), held_out)
    mine = Pictures(
        images=pictures.images[shown], labels=pictures.labels[shown], categories=pictures.categories, manifest={}
    )
    recipe = make_recipe(config, opened, len(shown))
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, mine)
    assert isinstance(learner, VaeLearner)
    feed = Feed(mine, recipe.config, recipe.facts, recipe.device)
    for step in range(250):
        learner.step(feed.batch(step))
    real = torch.from_numpy(pictures.images[held_out]).float() / 127.5 - 1.0
    labels = torch.from_numpy(pictures.labels[held_out])
    with torch.no_grad():
        mean, _log_variance = learner.encoder(real, labels)
        redrawn = learner.generator.decoder(mean, labels).clamp(-1.0, 1.0)
    error = (redrawn - real).square().mean()
    average = (real.mean(dim=0) - real).square().mean()
    assert error < 0.45 * average
    assert (mean.var(dim=0) > 0.01).float().mean() >= 0.5
