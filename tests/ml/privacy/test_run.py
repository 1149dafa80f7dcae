"""Whole private runs: the budget over kills and resumes, what lies where, what is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopgen_django.ml import loop
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import CheckpointError, ConfigChanged, ConfigError
from shopgen_django.ml.estimate import describe, estimate
from shopgen_django.ml.folder import RunFolder
from shopgen_django.ml.privacy import session
from shopgen_django.ml.sample import load_generator
from tests.ml.photos import StopAfter, make_folder, tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve products with two photos each."""
    folder = make_folder(tmp_path_factory.mktemp("private") / "photos", 24)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    rows = [f"{name},{name.split('/')[0]},p{number // 2}" for number, name in enumerate(names)]
    (folder / "labels.csv").write_text("file,label,product\n" + "\n".join(rows))
    return folder


@pytest.fixture
def known_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "draw_secret", lambda: b"t" * 32)


def private(source: Path, output: Path, **values: Any) -> TrainConfig:
    return tiny(source, output, **{"warm_images": None, "dp_epsilon": 8.0, "dp_noise": 2.0, "n_critic": 2, **values})


def _state(folder: Path) -> Any:
    state = RunFolder(folder).load_state()
    assert state is not None
    return state


def _epsilons(folder: Path) -> list[float]:
    return [json.loads(line)["epsilon"] for line in (folder / "stats.jsonl").read_text().splitlines()]


def test_a_private_run_and_what_lies_where(source: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    infos: list[loop.RunInfo] = []
    result = loop.train(
        private(source, tmp_path / "run", tick_seconds=0.0), on_note=notes.append, on_start=infos.append
    )
    assert (result.outcome, result.images_seen) == ("finished", 40)
    outside = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert outside == {
        "config.json", "curves.png", "model.json", "model.safetensors", "private", "samples", "state.json",
        "state.safetensors", "stats.jsonl",
    }  # fmt: skip
    inside = tmp_path / "run" / "private"
    assert {p.name for p in inside.iterdir()} == {"pictures.npy", "dataset.json", "secret"}
    assert inside.stat().st_mode & 0o077 == 0
    # Nothing outside confirms a guess of the photos: neither their hashes nor the digest over them.
    manifest = json.loads((inside / "dataset.json").read_text())
    secret = (inside / "secret").read_text()
    for name in outside - {"private", "samples", "curves.png"}:
        text = (tmp_path / "run" / name).read_bytes()
        assert manifest["digest"].encode() not in text
        assert manifest["files"][0]["sha256"].encode() not in text
        assert bytes.fromhex(secret) not in text
        assert secret.encode() not in text
    figures = json.loads((tmp_path / "run" / "stats.jsonl").read_text().splitlines()[-1])
    assert not {"loss_d", "real_logit", "accuracy_d", "redraw"} & figures.keys()
    assert "12 products are far too few" in "\n".join(notes)
    card = load_generator(tmp_path / "run").card
    assert card["privacy"]["unit"] == "product"
    assert card["metrics"] == {"epsilon": card["privacy"]["epsilon"]}
    assert (card["privacy"]["units"], card["photos"]) == (12, 24)
    assert 0 < card["privacy"]["epsilon"] <= 8.0
    assert infos[0].dataset["digest"] != manifest["digest"]


@pytest.mark.parametrize("architecture", ["modern", "dcgan"])
def test_stopped_and_resumed_is_a_straight_run_and_epsilon_never_falls(
    architecture: str, source: Path, tmp_path: Path, known_secret: None
) -> None:
    config = private(source, tmp_path / "straight", architecture=architecture, tick_seconds=0.0, images_seen=24)
    loop.train(config)
    parts = replace(config, output=str(tmp_path / "parts"))
    loop.train(parts, should_stop=StopAfter(3))
    spent = _state(tmp_path / "parts").values["learner"]["charged"]
    loop.train(parts)
    assert spent == 3
    assert _state(tmp_path / "parts").values["learner"]["charged"] == 6
    one, other = _state(tmp_path / "straight").tensors, _state(tmp_path / "parts").tensors
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _epsilons(tmp_path / "parts") == _epsilons(tmp_path / "straight")
    assert _epsilons(tmp_path / "parts") == sorted(_epsilons(tmp_path / "parts"))


def test_a_killed_run_goes_on_with_its_own_noise_and_budget(source: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "shopgen_django.ml.train", "--source", str(source), "--output", str(tmp_path / "run"),
        "--size", "16", "--width", "4", "--latent", "8", "--batch-size", "4", "--threads", "1", "--dp-epsilon", "8",
        "--dp-noise", "20", "--tick-seconds", "0", "--snapshot-seconds", "0", "--images-seen", "4000",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as p:
        assert p.stdout is not None
        seen = 0
        for line in p.stdout:
            seen += "epsilon" in line and "pictures seen" in line
            if seen == 5:
                p.send_signal(signal.SIGKILL)
                break
    before = _state(tmp_path / "run").values["learner"]
    told = _epsilons(tmp_path / "run")
    assert before["charged"] >= 1
    secret = (tmp_path / "run" / "private" / "secret").read_text()
    config = private(source, tmp_path / "run", dp_noise=20.0, n_critic=None, images_seen=4_000)
    loop.train(replace(config, tick_seconds=0.0), should_stop=StopAfter(4))
    after = _state(tmp_path / "run").values["learner"]
    assert after["charged"] == before["charged"] + 4
    assert (tmp_path / "run" / "private" / "secret").read_text() == secret
    assert _epsilons(tmp_path / "run")[-1] >= told[before["charged"] - 1]


def test_the_run_ends_when_the_budget_is_spent(source: Path, tmp_path: Path) -> None:
    config = private(source, tmp_path / "run", dp_epsilon=6.0, dp_noise=1.5, images_seen=4_000)
    result = loop.train(config)
    assert result.outcome == "finished"
    assert "privacy budget is spent" in result.reason
    assert 0 < result.images_seen < 4_000
    assert 4.5 < load_generator(tmp_path / "run").card["privacy"]["epsilon"] <= 6.0
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    again = loop.train(replace(config, images_seen=8_000))
    assert again.images_seen == result.images_seen
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_two_runs_of_one_seed_differ_because_the_noise_is_secret(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        loop.train(private(source, tmp_path / name, images_seen=8))
    assert (tmp_path / "a" / "model.safetensors").read_bytes() != (tmp_path / "b" / "model.safetensors").read_bytes()


def test_a_lost_secret_stops_a_run_and_fresh_draws_another(source: Path, tmp_path: Path) -> None:
    config = private(source, tmp_path / "run", images_seen=8)
    loop.train(config)
    secret = tmp_path / "run" / "private" / "secret"
    first = secret.read_text()
    secret.unlink()
    with pytest.raises((CheckpointError, ConfigChanged)):
        loop.train(replace(config, images_seen=16))
    loop.train(config, fresh=True)
    assert secret.read_text() != first


def test_a_run_that_began_openly_does_not_become_private(source: Path, tmp_path: Path) -> None:
    config = tiny(source, tmp_path / "run", loss="ns", gamma=0.0, warm_images=0, augment="off", images_seen=8)
    loop.train(config)
    assert (tmp_path / "run" / "pictures.npy").exists()
    closed = private(source, tmp_path / "run", loss="ns")
    with pytest.raises((ConfigError, ConfigChanged)):
        loop.train(closed)
    loop.train(closed, fresh=True)
    assert not (tmp_path / "run" / "pictures.npy").exists()
    assert not (tmp_path / "run" / "dataset.json").exists()
    assert not (tmp_path / "run" / "reals.png").exists()
    with pytest.raises(ConfigChanged, match=r"--dp-epsilon: 8\.0 -> None"):
        loop.train(config)


def test_other_products_or_privacy_options_are_noticed(source: Path, tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", 24)
    names = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))

    def label(each: int) -> None:
        rows = [f"{name},x,p{number // each}" for number, name in enumerate(names)]
        (photos / "labels.csv").write_text("file,label,product\n" + "\n".join(rows))

    label(2)
    config = private(photos, tmp_path / "run", images_seen=8)
    loop.train(config)
    with pytest.raises(ConfigChanged, match=r"--dp-noise: 2\.0 -> 3\.0"):
        loop.train(replace(config, dp_noise=3.0))
    label(1)
    with pytest.raises(ConfigChanged, match="the pictures"):
        loop.train(config)


def test_unsafe_metrics_are_written_and_marked(source: Path, tmp_path: Path) -> None:
    loop.train(private(source, tmp_path / "run", unsafe_metrics=True))
    figures = json.loads((tmp_path / "run" / "stats.jsonl").read_text().splitlines()[-1])
    assert {"loss_d", "real_logit"} <= figures.keys()
    assert load_generator(tmp_path / "run").card["privacy"]["unsafe_metrics"] is True


def test_an_archive_may_name_products(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, product=np.arange(24) // 2)
    loop.train(private(tmp_path / "set.npz", tmp_path / "run", images_seen=8, channels=1))
    assert load_generator(tmp_path / "run").card["privacy"]["units"] == 12


def test_a_dry_run_tells_the_promise_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    told = describe(estimate(private(source, tmp_path / "run", dp_noise=None, dp_epsilon=4.0)))
    assert "epsilon at most 4" in told
    assert "12 products are far too few" in told
    assert not (tmp_path / "run").exists()
