"""Noise as photos have it, and the network that takes it out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shopgen_django.ml import noise
from shopgen_django.ml.errors import ConfigError, ModelFileError
from shopgen_django.ml.families.denoiser import DenoiserLearner, falling
from shopgen_django.ml.families.restorer import Restorer
from shopgen_django.ml.loop import train
from shopgen_django.ml.restore import LoadedRestorer, load_restorer
from shopgen_django.ml.sample import load_generator
from tests.ml.photos import make_folder, photo, tiny

DENOISER: dict[str, Any] = {"architecture": "denoiser", "warm_images": None, "latent": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network on Gaussian noise, long enough to be of use."""
    base = tmp_path_factory.mktemp("denoiser")
    photos = make_folder(base / "photos", 16)
    config = tiny(
        photos, base / "run", **DENOISER, size=32, width=16, batch_size=8, images_seen=3_200, noise=("gaussian",),
        lr=2e-3, ema_images=200,
    )  # fmt: skip
    train(config)
    return base / "run"


@pytest.fixture(scope="module")
def restorer(trained: Path) -> LoadedRestorer:
    return load_restorer(trained)


def _noisy(image: Image.Image, sigma: float, seed: int = 0) -> Image.Image:
    array = np.asarray(image, dtype=np.float64)
    grain = np.random.default_rng(seed).normal(0.0, sigma, array.shape)
    return Image.fromarray(np.clip(np.rint(array + grain), 0, 255).astype(np.uint8))


def _psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(10.0 * np.log10(255.0**2 / max(1e-9, (difference**2).mean())))


# -- noise -------------------------------------------------------------------------------------


def test_light_and_back() -> None:
    values = torch.linspace(0.0, 1.0, 300, dtype=torch.float64)
    light = noise.to_linear(values)
    assert torch.allclose(noise.to_srgb(light), values, atol=1e-6)
    assert float(noise.to_linear(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-4)


def test_gaussian_noise_has_the_deviation_that_was_asked_for() -> None:
    clean = torch.full((2, 3, 64, 64), 0.5)
    made = noise.gaussian(clean, torch.randn(clean.shape), torch.tensor([10.0, 40.0]))
    assert noise.rms(made, clean).tolist() == pytest.approx([10.0, 40.0], rel=0.03)
    assert torch.equal((made * 255).round() / 255, made)


def test_camera_noise_grows_with_light_and_is_smeared_in_colour() -> None:
    rng = torch.Generator().manual_seed(0)
    light = torch.tensor([0.05, 0.6]).view(2, 1, 1, 1).expand(2, 3, 128, 128)
    clean = noise.to_srgb(light)
    made = noise.camera(clean, torch.randn(clean.shape, generator=rng), torch.full((2,), 0.01), torch.full((2,), 0.001))
    grey = noise.to_linear(made).mean(dim=1) - light[:, 0]
    ratio = grey[1].var() / grey[0].var()
    assert float(ratio) == pytest.approx(0.6 / 0.05, rel=0.25)

    def neighbours(values: torch.Tensor) -> float:
        flat = values - values.mean()
        return float((flat[:, 1:] * flat[:, :-1]).mean() / flat.square().mean())

    colour = made[1, 0] - made[1].mean(dim=0)
    assert neighbours(colour) > 0.4
    assert abs(neighbours(made[1].mean(dim=0))) < 0.1


def test_jpeg_loses_more_at_lower_quality() -> None:
    clean = torch.from_numpy(np.array(photo("hats", 1, (64, 64)))).permute(2, 0, 1)[None].float() / 255
    clean = torch.cat([clean, clean])
    lost = noise.rms(noise.jpeg(clean, [25, 90]), clean)
    assert lost[0] > lost[1] > 0


def test_a_pictures_noise_does_not_depend_on_the_other_pictures() -> None:
    from shopgen_django.ml.seeding import generator, part_of

    clean = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = noise.add_noise(clean, generator(0, "x"))
    part = noise.add_noise(clean[2:4], part_of(generator(0, "x"), 2, 4, 6))
    assert torch.equal(part.pictures, whole.pictures[2:4])
    assert torch.equal(part.level, whole.level[2:4])
    assert set(whole.coloured.tolist()) <= {0.0, 1.0}
    assert whole.pictures.abs().max() <= 1.0


# -- the network -------------------------------------------------------------------------------


def test_at_level_nought_the_picture_passes_unchanged() -> None:
    network = Restorer(channels=3, width=8, depth=7, estimator_width=4)
    picture = torch.rand(2, 3, 20, 24) * 2 - 1
    assert torch.equal(network(picture, torch.zeros(2), torch.ones(2)), picture)


def test_the_default_has_the_size_that_was_planned() -> None:
    network = Restorer(channels=3, width=48, depth=7, estimator_width=16)
    count = sum(p.numel() for layer in network.layers for p in layer.parameters())
    assert 110_000 < count < 125_000


def test_the_rate_falls_to_nothing_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [round(falling(share), 3) for share in (0.0, 0.7, 0.85, 1.0, 1.2)] == [1.0, 1.0, 0.5, 0.001, 0.001]
    rates: list[float] = []
    step = DenoiserLearner.step

    def noting(self: DenoiserLearner, batch: Any) -> Any:
        rates.append(self._g_optimiser.param_groups[0]["lr"])
        return step(self, batch)

    monkeypatch.setattr(DenoiserLearner, "step", noting)
    config = tiny(
        make_folder(tmp_path / "photos", 4), tmp_path / "run", **DENOISER, size=32, batch_size=4, images_seen=80,
        lr=1e-3,
    )
    train(config)
    assert rates[:14] == [1e-3] * 14 and rates[-1] < 1e-4
    assert all(later <= earlier for earlier, later in pairwise(rates))


def test_noise_goes_from_photos_that_it_has_not_seen(restorer: LoadedRestorer) -> None:
    """After seconds of training. How it compares with filters after minutes is measured by a benchmark."""
    gains = []
    for number in range(40, 46):
        clean = photo("hats", number, (96, 80))
        noisy = _noisy(clean, 25.0, number)
        gains.append(_psnr(restorer.restore(noisy, sigma=25.0), clean) - _psnr(noisy, clean))
    assert np.mean(gains) >= 3.5
    assert min(gains) >= 3.0


def test_the_level_is_told_without_being_given(restorer: LoadedRestorer) -> None:
    clean = photo("bags", 50, (90, 100))
    told = [restorer.estimate(_noisy(clean, sigma)).sigma for sigma in (5.0, 15.0, 30.0, 45.0)]
    assert told == sorted(told)
    assert told[2] == pytest.approx(30.0, rel=0.35)
    noisy = _noisy(clean, 30.0)
    assert _psnr(restorer.restore(noisy), clean) > _psnr(noisy, clean) + 3.0


def test_sigma_nought_and_strength_nought_change_nothing(restorer: LoadedRestorer) -> None:
    image = _noisy(photo("hats", 3), 20.0)
    for values in ({"sigma": 0.0}, {"strength": 0.0}):
        assert (np.asarray(restorer.restore(image, **values)) == np.asarray(image)).all()
    full, half = (np.asarray(restorer.restore(image, sigma=20.0, strength=s), dtype=float) for s in (1.0, 0.5))
    middle = 0.5 * (full + np.asarray(image, dtype=float))
    assert np.abs(half - middle).max() <= 1.0


@pytest.mark.parametrize("size", [(2, 2), (33, 17), (300, 40), (290, 275)])
def test_any_size_and_the_tiles_do_not_show(size: tuple[int, int], restorer: LoadedRestorer) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    made = restorer.restore(image, sigma=30.0)
    assert made.size == size
    with torch.no_grad():
        whole = restorer._network(restorer._tensor(np.asarray(image)), torch.tensor([30.0]), torch.zeros(1))
    expected = ((whole.clamp(-1.0, 1.0) + 1.0) * 127.5)[0, :, : size[1], : size[0]].permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(made, dtype=float) - expected).max() <= 0.5 + 1e-3


def test_grey_and_transparent_pictures_keep_their_kind(restorer: LoadedRestorer) -> None:
    grey = _noisy(photo("hats", 2).convert("L"), 20.0)
    assert restorer.restore(grey, sigma=20.0).mode == "L"
    clear = photo("hats", 2)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    made = restorer.restore(clear, sigma=20.0)
    assert made.mode == "RGBA"
    assert (np.asarray(made.getchannel("A")) == np.asarray(clear.getchannel("A"))).all()
    with pytest.raises(ValueError, match="convert it"):
        restorer.restore(clear.convert("CMYK"))
    for values in ({"strength": 1.5}, {"sigma": -1.0}):
        with pytest.raises(ValueError, match="between"):
            restorer.restore(grey, **values)


def test_the_folder_says_what_it_is_for_and_the_sheet_shows_triples(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    assert (card["architecture"], card["purpose"]) == ("denoiser", "denoise")
    assert card["metrics"]["psnr_gain"] > 1.5
    with Image.open(sorted((trained / "samples").glob("*.png"))[-1]) as sheet:
        assert sheet.size == (2 + 3 * (64 + 2), 2 + 8 * (64 + 2))
    with pytest.raises(ModelFileError, match="purpose 'denoise'; pictures can't be generated"):
        load_generator(trained)


def test_a_generator_restores_nothing(tmp_path: Path) -> None:
    train(tiny(make_folder(tmp_path / "photos"), tmp_path / "run", images_seen=8))
    with pytest.raises(ModelFileError, match="no noise can be taken out"):
        load_restorer(tmp_path / "run")


def test_grey_models_take_colour_pictures_one_colour_at_a_time(tmp_path: Path) -> None:
    train(tiny(make_folder(tmp_path / "photos"), tmp_path / "run", **DENOISER, channels=1, images_seen=8))
    restorer = load_restorer(tmp_path / "run")
    made = restorer.restore(photo("hats", 1, (20, 30)), sigma=10.0)
    assert (made.mode, made.size) == ("RGB", (20, 30))


def test_the_adversarial_term_trains_a_judge_and_reaches_the_network(tmp_path: Path) -> None:
    from tests.ml.test_families import set_up

    source = make_folder(tmp_path / "photos")
    plain, judged = (
        set_up(source, tmp_path / name, **DENOISER, adversarial=weight)[2:]
        for name, weight in (("a", 0.0), ("b", 0.01))
    )
    assert isinstance(plain[0], DenoiserLearner)
    assert isinstance(judged[0], DenoiserLearner)
    assert set(plain[0].modules()) == {"generator"}
    figures = judged[0].step(judged[1].batch(0))
    plain[0].step(plain[1].batch(0))
    assert {"loss_d", "adversarial", "accuracy_d"} <= set(figures)
    one, other = plain[0].generator.layers[0].weight, judged[0].generator.layers[0].weight
    assert not torch.equal(one, other)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"at most 0\.01"):
        set_up(source, tmp_path / "a", **DENOISER, adversarial=0.5)


def test_transparency_is_refused_by_the_trainer(tmp_path: Path) -> None:
    from tests.ml.test_families import set_up

    with pytest.raises(ConfigError, match="--channels 1 or 3"):
        set_up(make_folder(tmp_path / "photos"), tmp_path / "run", **DENOISER, channels=4)
