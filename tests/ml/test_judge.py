"""The judge on real pictures: planted failures of a generator, the best snapshot, the share of time it takes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shopgen_django.ml import judge as judging
from shopgen_django.ml.alarms import alarms_in
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.judge import Judge, chosen_figures
from shopgen_django.ml.loop import train
from shopgen_django.ml.monitors import Advice
from tests.ml.photos import make_folder, tiny

DATA = Path(__file__).parents[1] / "data" / "fashion_mnist_900" / "fmnist900.npz"


class Drawer(nn.Module):
    """A stand-in for a generator: its pictures are photos, chosen and changed as a test plants it."""

    def __init__(self, photos: np.ndarray) -> None:
        super().__init__()
        self.photos = torch.from_numpy(photos).float() / 127.5 - 1.0
        self.plant = "sound"
        self.latent = 1

    def draw(self, rng: torch.Generator, labels: torch.Tensor, truncation: float = 1.0) -> torch.Tensor:
        return torch.randint(len(self.photos), (len(labels), 1), generator=rng).float()

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        chosen = latents[:, 0].long()
        if self.plant == "constant":
            return self.photos[torch.zeros_like(chosen)]
        pictures = self.photos[chosen]
        if self.plant == "noise":
            pictures[::2] = torch.randn(pictures[::2].shape)
        return pictures


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.load(DATA)["images"][::2][:, None]


@pytest.fixture
def run(photos: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Any:
    """300 training photos; a generator that draws from 150 others."""
    monkeypatch.setattr(judging, "SHARE", 1e9)
    monkeypatch.setattr(judging, "MADE", 128)
    labels = np.zeros(300, dtype=np.int64)
    pictures = Pictures(
        images=photos[np.arange(450) % 3 > 0], labels=labels, categories=(), manifest={"digest": "", "files": []}
    )
    drawer = Drawer(photos[::3])
    recipe = SimpleNamespace(facts=SimpleNamespace(categories=0), device=torch.device("cpu"))
    folder = SimpleNamespace(has_best=lambda: True, publish_best=lambda: True)
    return SimpleNamespace(
        pictures=pictures, ema=SimpleNamespace(module=drawer), learner=SimpleNamespace(generator=drawer), recipe=recipe,
        config=SimpleNamespace(seed=0), folder=folder, images_seen=1000, seconds=100.0, step=10,
    )  # fmt: skip


def look(judge: Judge, run: Any, plant: str, at: int) -> Advice:
    run.ema.module.plant, run.images_seen = plant, at
    return judge.on_snapshot(run)


def test_a_constant_generator_is_noticed_within_two_snapshots(run: Any) -> None:
    judge = Judge(loss="rp", figures=("kid", "coverage", "memory"))
    sound = look(judge, run, "sound", 1000)
    assert sound.best
    assert sound.figures["kid"] < 0.05
    assert sound.figures["coverage"] > 0.5
    assert 0.8 < sound.figures["memory"] < 1.3
    assert judge.on_tick(run, {}) == {}
    assert judge.describe()["extractor"].startswith("shopgen-features@")
    first = look(judge, run, "constant", 2000)
    assert (first.best, first.roll_back) == (False, "")
    assert first.figures["feature_variety"] < 0.01
    assert alarms_in(judge.on_tick(run, {})) == {"collapse": 2000}
    second = look(judge, run, "constant", 3000)
    assert "same picture" in second.roll_back
    assert judge.on_tick(run, {}) == {"mended_collapse": 3000.0}


def test_a_generator_that_copies_training_photos_is_noticed(run: Any) -> None:
    judge = Judge(loss="rp", figures=("kid",))
    run.ema.module.photos = torch.from_numpy(run.pictures.images).float() / 127.5 - 1.0
    advice = look(judge, run, "sound", 1000)
    assert advice.best is False
    assert alarms_in(judge.on_tick(run, {})) == {"memorised": 1000}


def test_a_generator_that_falls_apart_goes_back_after_three_snapshots(run: Any) -> None:
    judge = Judge(loss="rp", figures=("kid",))
    assert look(judge, run, "sound", 1000).best
    told = [look(judge, run, "noise", at).roll_back for at in (2000, 3000, 4000)]
    assert told[:2] == ["", ""]
    assert "much worse" in told[2]
    assert "1000 pictures" in judge.on_end(run)
    assert judge.on_tick(run, {}) == {"mended_diverged": 4000.0}


def test_measuring_waits_until_it_has_the_time(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "SHARE", 0.1)
    judge = Judge(loss="rp", figures=("kid",))
    run.seconds = 1e-3
    assert look(judge, run, "sound", 1000).figures == {}
    run.seconds = 1e6
    figures = look(judge, run, "sound", 2000).figures
    assert figures["measuring"] < 0.1
    judge._cost = 1e5
    judge._spent = 1e5
    assert look(judge, run, "sound", 3000).figures == {}
    again = Judge(loss="rp", figures=("kid",))
    again.load_state(judge.state())
    assert look(again, run, "sound", 3000).figures == {}


def test_names_of_figures() -> None:
    assert chosen_figures("auto", 64) == ("kid", "coverage")
    assert chosen_figures("auto", 63) == chosen_figures("none", 900) == ()
    assert chosen_figures("KID, fid", 900) == ("kid", "fid")
    with pytest.raises(ConfigError, match="inception"):
        chosen_figures("kid,inception", 900)
    with pytest.raises(ConfigError, match="64 photos"):
        chosen_figures("kid", 12)


def test_a_run_that_collapses_goes_back_to_its_best_state_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in the trainer itself: at two snapshots the generator makes one picture only."""
    monkeypatch.setattr(judging, "SHARE", 1e9)
    monkeypatch.setattr(judging, "MADE", 32)
    monkeypatch.setattr("shopgen_django.ml.alarms.COLLAPSE_ARMED_BY", 0.0)
    monkeypatch.setattr("shopgen_django.ml.alarms.DIVERGED_TIMES", 1e9)
    made, planted = Judge._made, []

    def collapsing(self: Judge, run: Any, labels: np.ndarray) -> torch.Tensor:
        pictures = made(self, run, labels)
        if run.images_seen in (48, 64) and len(planted) < 2:
            planted.append(run.images_seen)
            return pictures[:1].expand_as(pictures)
        return pictures

    monkeypatch.setattr(Judge, "_made", collapsing)
    source = make_folder(tmp_path / "photos", 64)
    notes: list[str] = []
    config = tiny(source, tmp_path / "run", images_seen=96, batch_size=16, snapshot_seconds=0.0, tick_seconds=0.0)
    result = train(config, on_note=notes.append)
    assert result.outcome == "finished"
    assert any("same picture" in note and "best state" in note for note in notes), notes
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["rollbacks"] == 1
    assert lines[-1]["mended_collapse"] == 64
    assert {"kid", "coverage", "kid_error", "measuring"} <= lines[-1].keys()
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["measured"]["judge"]["extractor"].startswith("shopgen-features@")
