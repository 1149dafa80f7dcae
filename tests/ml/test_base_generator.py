"""The generator that ships: whole, small, described; who gets it without asking."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from shopgen_django.ml import files
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import open_source
from shopgen_django.ml.families.base import DataFacts
from shopgen_django.ml.loop import train
from shopgen_django.ml.recipe import make_recipe
from shopgen_django.ml.sample import load_generator
from shopgen_django.ml.transfer import BASE_FOLDER, COMPANIONS, read_origin, settle

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "training" / "base_generator"


def test_it_is_whole_and_small() -> None:
    origin = read_origin("base")
    assert origin.discriminator and origin.describer
    assert origin.card["size"] == 64 and origin.card["licence"] == "CC0-1.0"
    sizes = [(BASE_FOLDER / name).stat().st_size for name in ("model.safetensors", COMPANIONS)]
    assert sum(sizes) < 5_000_000
    card = files.read_json(BASE_FOLDER / "model.json")
    assert files.sha256_file(BASE_FOLDER / COMPANIONS) == card["companions_sha256"]
    text = (BASE_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "CC0" in text and f"{card['images_seen']:,}" in text and card["sha256"] in text


def test_it_draws_something_else_each_time() -> None:
    generator = load_generator(BASE_FOLDER)
    for category in ("Dress", "Pants"):
        drawn = np.stack([np.asarray(p, dtype=float) for p in generator.sample(4, category=category, seed=2)])
        assert drawn.std(axis=0).mean() > 5.0
        # The ground is white, the product isn't.
        assert np.median(drawn[:, :3, :3]) > 225 and drawn[:, 24:40, 24:40].mean() < 225


def test_it_never_saw_a_photo_that_we_measure_with() -> None:
    with (LISTS / "photos.csv").open() as handle:
        trained = {Path(row["file"]).stem for row in csv.DictReader(handle)}
    with (ROOT / "example_project" / "data" / "clothing_cc0" / "labels.csv").open() as handle:
        example = {Path(row["file"]).stem for row in csv.DictReader(handle)}
    rejected = {line.split()[0].split(".")[0] for line in (LISTS / "rejected.txt").read_text().splitlines()}
    assert len(trained) > 1000 and len(example) == 240
    assert not trained & example and not trained & rejected


@pytest.mark.parametrize(
    ("names", "options", "wanted"),
    [
        (("Dresses", "T-Shirts", "Trainers"), {}, "base"),
        (("Women > Dresses", "Leather shoes", "连衣裙"), {}, "base"),
        (("Banana", "Milk", "Bread"), {}, "base"),
        ((), {}, "base"),
        (("Dress", "Hat"), {"init": "scratch"}, "scratch"),
        (("Dress", "Hat"), {"size": 32}, "scratch"),
        (("Dress", "Hat"), {"channels": 4}, "scratch"),
        (("Dress", "Hat"), {"channels": 1}, "base"),
        (("Dress", "Hat"), {"width": 24}, "scratch"),
        (("Dress", "Hat"), {"architecture": "dcgan"}, "scratch"),
        (("Dress", "Hat"), {"warm_images": 0}, "scratch"),
        (("Dress", "Hat"), {"category": ("Hat",)}, "base"),
    ],
)
def test_who_gets_it_without_asking(
    tmp_path: Path, names: tuple[str, ...], options: dict[str, object], wanted: str
) -> None:
    path = tmp_path / "photos.npz"
    labels = {"labels": np.array([names[index % len(names)] for index in range(12)])} if names else {}
    np.savez(path, images=np.zeros((12, 16, 16, 3), np.uint8), **labels)
    values: dict[str, object] = {"source": str(path), "output": str(tmp_path / "o"), "size": 64, **options}
    config = TrainConfig(**values)  # type: ignore[arg-type]
    settled = make_recipe(config, open_source(config)).config
    assert settled.init == wanted
    if wanted == "base":
        assert (settled.width, settled.latent) == (16, 64)


@pytest.mark.parametrize(
    ("categories", "count", "wanted"),
    [
        ({"Banana": 3000}, 3000, "scratch"),
        ({}, 3000, "scratch"),
        ({}, 2000, "base"),
        ({"Dresses": 1500, "Lamp": 1500}, 3000, "base"),
        ({"Dresses": 1499, "Lamp": 1501}, 3000, "scratch"),
    ],
)
def test_many_photos_only_of_what_it_knows(categories: dict[str, int], count: int, wanted: str) -> None:
    config = TrainConfig(source="x", output="y")
    facts = DataFacts(count=count, size=64, channels=3, categories=len(categories))
    assert settle(config, facts, categories).init == wanted


def test_photos_without_categories_begin_with_it(tmp_path: Path) -> None:
    path = tmp_path / "photos.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8))
    config = TrainConfig(source=str(path), output=str(tmp_path / "o"), threads=1, images_seen=12, snapshot_seconds=3600)
    done = train(config)
    drawn = load_generator(done.folder)
    assert drawn.categories == () and drawn.card["init"]["name"] == "base"
    assert len(drawn.sample(2)) == 2
