"""Beginning with another model: what is taken over, how categories meet, what is refused, what never leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import load_pictures, open_source
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families.modern import ModernGenerator, ModernLearner
from shopgen_django.ml.loop import train
from shopgen_django.ml.recipe import make_recipe
from shopgen_django.ml.run import make_learner
from shopgen_django.ml.sample import load_network
from shopgen_django.ml.synonyms import find
from shopgen_django.ml.transfer import _describer_of, begin, read_origin

SIZE = 16


def archive(path: Path, *, names: tuple[str, ...], channels: int = 3, seed: int = 0, count: int = 24) -> Path:
    """Squares whose shade tells the category, with some noise: ``count`` in all."""
    rng = np.random.default_rng(seed)
    labels = np.array([names[i % len(names)] for i in range(count)])
    shade = np.array([60 + 150 * names.index(label) // max(1, len(names)) for label in labels])
    images = np.full((count, SIZE, SIZE, channels), 255, dtype=np.uint8)
    images[:, 4:12, 4:12] = shade[:, None, None, None]
    images = np.clip(images + rng.integers(-20, 20, images.shape), 0, 255).astype(np.uint8)
    np.savez(path, images=images, labels=labels)
    return path


def config(source: Path, output: Path, **options: object) -> TrainConfig:
    values: dict[str, object] = {
        "source": str(source), "output": str(output), "batch_size": 8, "width": 8, "latent": 8,
        "warm_images": 64, "images_seen": 160, "threads": 1, "init": "scratch", "seed": 1,
    }
    return TrainConfig(**{**values, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on dresses, hats and pants."""
    folder = tmp_path_factory.mktemp("earlier")
    source = archive(folder / "photos.npz", names=("Dress", "Hat", "Pants"))
    return train(config(source, folder / "run")).folder


def learner_for(settings: TrainConfig, folder: Path) -> tuple[ModernLearner, TrainConfig]:
    source = open_source(settings)
    folder.mkdir(exist_ok=True)
    pictures = load_pictures(source, settings, folder)
    recipe = make_recipe(settings, source, len(pictures.images))
    learner = make_learner(recipe, pictures)
    assert isinstance(learner, ModernLearner)
    return learner, recipe.config


def test_same_categories_make_the_same_pictures(earlier: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "p.npz", names=("hats", "DRESSES", "Trousers"), seed=5)
    learner, _ = learner_for(config(source, tmp_path / "o", init=str(earlier)), tmp_path / "o")
    network, card, _device = load_network(earlier)
    assert isinstance(network, ModernGenerator) and network.start is not None
    assert card["categories"] == ["Dress", "Hat", "Pants"]
    # Own categories in their order: DRESSES, Trousers, hats.
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    generator = learner.generator
    assert isinstance(generator, ModernGenerator) and generator.start is not None
    theirs = network.start.mean.weight[torch.tensor([0, 2, 1])]
    with torch.no_grad():
        # The mean pictures are moved towards the own photos; with them put back the two networks are one.
        assert not torch.equal(generator.start.mean.weight, theirs)
        generator.start.mean.weight.copy_(theirs)
        mine = generator(latents, torch.tensor([0, 1, 2]))
        other = network(latents, torch.tensor([0, 2, 1]))
    assert torch.allclose(mine, other, atol=1e-5)
    state = read_origin(str(earlier)).discriminator
    for name, value in learner.discriminator.state_dict().items():
        if name != "project.weight":
            assert torch.equal(value, state[name])
    assert torch.equal(learner.discriminator.state_dict()["project.weight"], state["project.weight"][[0, 2, 1]])


def test_codes_are_of_the_own_photos_only(earlier: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "p.npz", names=("Dress", "Hat"), seed=9, count=12)
    learner, _ = learner_for(config(source, tmp_path / "o", init=str(earlier)), tmp_path / "o")
    generator, describer = learner.generator, learner.describer
    assert isinstance(generator, ModernGenerator) and describer is not None
    assert len(generator.codes) == 12
    with np.load(source) as photos:
        images = photos["images"].transpose(0, 3, 1, 2)
    assert torch.allclose(generator.codes, describer.codes(images, generator.code_labels), atol=1e-5)
    theirs = load_network(earlier)[0].state_dict()["codes"]
    assert torch.cdist(generator.codes, theirs).min() > 1e-3


def test_one_category_takes_its_row(earlier: Path, tmp_path: Path) -> None:
    """``--category Hat``: the run has no categories, so the category's numbers become constants."""
    source = archive(tmp_path / "p.npz", names=("Dress", "Hat", "Pants"), seed=5)
    wish = config(source, tmp_path / "o", init=str(earlier), category=("Hat",))
    learner, _ = learner_for(wish, tmp_path / "o")
    network = load_network(earlier)[0]
    assert isinstance(network, ModernGenerator) and network.start is not None
    generator = learner.generator
    assert isinstance(generator, ModernGenerator) and generator.embed is None and generator.start is not None
    latents = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        generator.start.mean.weight.copy_(network.start.mean.weight[1:2])
        mine = generator(latents, torch.zeros(4, dtype=torch.int64))
        other = network(latents, torch.full((4,), 1))
    assert torch.allclose(mine, other, atol=1e-5)
    pictures = torch.rand(4, 3, SIZE, SIZE) * 2 - 1
    origin = read_origin(str(earlier)).discriminator
    with torch.no_grad():
        both = [
            learner.discriminator(pictures, torch.zeros(4, dtype=torch.int64)),
            _discriminate(origin, pictures, label=1),
        ]
    assert torch.allclose(both[0], both[1], atol=1e-4)


def _discriminate(weights: dict[str, torch.Tensor], pictures: torch.Tensor, *, label: int) -> torch.Tensor:
    from shopgen_django.ml.families.modern import ModernDiscriminator

    network = ModernDiscriminator(size=SIZE, channels=3, categories=3, plan=(16, 8))
    network.load_state_dict(weights)
    return network(pictures, torch.full((len(pictures),), label))


def test_grey_photos_use_a_colour_model(earlier: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "p.npz", names=("Dress", "Hat", "Pants"), channels=1, seed=5)
    learner, settled = learner_for(config(source, tmp_path / "o", init=str(earlier)), tmp_path / "o")
    assert settled.channels == 1
    grey = torch.rand(4, 1, SIZE, SIZE) * 2 - 1
    labels = torch.tensor([0, 1, 2, 0])
    from shopgen_django.ml.families.modern import ModernDiscriminator

    colour = ModernDiscriminator(size=SIZE, channels=3, categories=3, plan=(16, 8))
    colour.load_state_dict(read_origin(str(earlier)).discriminator)
    with torch.no_grad():
        assert torch.allclose(
            learner.discriminator(grey, labels), colour(grey.expand(-1, 3, -1, -1), labels), atol=1e-4
        )
        made = learner.generator(learner.generator.draw(torch.Generator().manual_seed(0), labels), labels)
    assert made.shape == (4, 1, SIZE, SIZE) and torch.isfinite(made).all()


def test_it_learns_on_from_there(earlier: Path, tmp_path: Path) -> None:
    """The first steps redraw photos better than a beginning from nothing, and a second run gives the same bytes."""
    source = archive(tmp_path / "p.npz", names=("Dress", "Hat", "Pants"), seed=5)
    results = {}
    for name, init in (("scratch", "scratch"), ("begun", str(earlier)), ("again", str(earlier))):
        done = train(config(source, tmp_path / name, init=init, images_seen=32))
        results[name] = done
    assert results["begun"].latest["redraw"] < results["scratch"].latest["redraw"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("begun", "again", "scratch")]
    assert weights[0] == weights[1] != weights[2]


def test_a_model_without_its_state_still_describes(earlier: Path) -> None:
    """From the weights alone: the describer is worked out from the pictures that the codes stand for."""
    origin = read_origin(str(earlier))
    network = load_network(earlier)[0]
    assert isinstance(network, ModernGenerator) and network.start is not None
    from shopgen_django.ml.warm import Describer

    like = Describer(channels=3, categories=3, components=8)
    like.load_state_dict(_describer_of(origin.generator, like))
    codes = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        drawn = network.start(codes, labels)
        small = torch.nn.functional.interpolate(drawn, scale_factor=2, mode="nearest")
        assert torch.allclose(like.describe(small, labels), codes, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 32}, "makes pictures of 16 px"),
        ({"width": 12}, "--width 8"),
        ({"channels": 4}, "3 channels"),
        ({"architecture": "dcgan", "warm_images": None, "latent": None, "width": None}, "architecture"),
        ({"init": "nowhere"}, "there is no trained model"),
    ],
)
def test_refusals_say_what_would_have_to_change(
    earlier: Path, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    source = archive(tmp_path / "p.npz", names=("Dress", "Hat"))
    wish = config(source, tmp_path / "o", **{"init": str(earlier), "width": None, "latent": None, **options})
    with pytest.raises(ConfigError, match=words):
        make_recipe(wish, open_source(wish))


def test_damaged_weights_are_refused(earlier: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(earlier, copy)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="SHA-256"):
        read_origin(str(copy))


def test_begin_reports_strangers(earlier: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "p.npz", names=("Dress", "Teapot"), seed=5)
    settings = config(source, tmp_path / "o", init=str(earlier))
    opened = open_source(settings)
    (tmp_path / "o").mkdir()
    pictures = load_pictures(opened, settings, tmp_path / "o")
    recipe = make_recipe(settings, opened, len(pictures.images))
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, pictures)
    assert begin(learner, recipe.config, pictures) == ("Teapot",)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dresses", "Dress"), ("Summer dresses", "Dress"), ("Shirt dress", "Dress"), ("Dress shirts", "Shirt"),
        ("t shirt", "T-Shirt"), ("Tees", "T-Shirt"), ("long sleeve", "Longsleeve"), ("Outerwear", "Outwear"),
        ("Clothing/Women/Jeans", "Pants"), ("运动鞋", "Shoes"), ("Milk", None), ("Hatstand", None), ("", None),
    ],
)
def test_names(name: str, wanted: str | None) -> None:
    known = ("Dress", "Longsleeve", "Outwear", "Pants", "Shirt", "Shoes", "T-Shirt")
    found = find(name, known)
    assert (None if found is None else known[found]) == wanted
