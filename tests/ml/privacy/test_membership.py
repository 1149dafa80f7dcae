"""The attack: what it finds on scores with known answers, on a run without privacy, and on one with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopgen_django.ml import loop
from shopgen_django.ml.errors import CheckpointError
from shopgen_django.ml.privacy.membership import (
    attack,
    judge,
    least_epsilon,
    main,
    most_advantage,
    outsiders_for,
)
from tests.ml.photos import tiny


def test_findings_on_scores_with_known_answers() -> None:
    rng = np.random.default_rng(0)
    same = judge(rng.normal(size=2_000), rng.normal(size=2_000), delta=1e-5)
    assert same.auc == pytest.approx(0.5, abs=0.02)
    assert same.advantage < 0.06
    assert same.least_epsilon < 0.2
    shifted = judge(rng.normal(1.0, size=2_000), rng.normal(size=2_000), delta=1e-5)
    assert shifted.auc == pytest.approx(0.760, abs=0.02)  # Phi(1 / sqrt(2))
    assert shifted.advantage == pytest.approx(0.383, abs=0.04)  # 2 Phi(1/2) - 1
    assert shifted.hits_at_1_percent == pytest.approx(0.092, abs=0.04)  # Phi(1 - 2.326)
    perfect = judge(np.ones(50), np.zeros(50), delta=1e-5)
    assert (perfect.auc, perfect.advantage, perfect.hits_at_1_percent) == (1.0, 1.0, 1.0)
    ties = judge(np.zeros(10), np.zeros(10), delta=0.0)
    assert (ties.auc, ties.advantage) == (0.5, 0.0)


def test_the_audit_never_proves_more_than_the_truth_and_comes_near() -> None:
    """Randomised response with epsilon 1 is as informative as (1, 0) allows."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inside = rng.random(2_000) < 0.5
        told = np.where(rng.random(2_000) < np.e / (1 + np.e), inside, ~inside)
        scores = told + 1e-6 * rng.random(2_000)
        found.append(least_epsilon(scores[inside], scores[~inside], delta=0.0))
    assert sum(value > 1.0 for value in found) <= 4  # at most 5 % are expected
    assert np.mean(found) > 0.75


def test_the_bound_on_any_attack() -> None:
    assert most_advantage(0.0, 0.0) == 0.0
    assert most_advantage(1.0, 0.0) == pytest.approx(0.4621, abs=1e-4)
    assert most_advantage(100.0, 1e-5) == 1.0


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Noise pictures, which one can know by heart and by nothing else: 48 to train on, 48 others, and 48 more."""
    folder = tmp_path_factory.mktemp("membership")
    rng = np.random.default_rng(1)
    for name in ("inside", "outside", "third"):
        np.savez(folder / f"{name}.npz", images=rng.integers(0, 256, (48, 16, 16), dtype=np.uint8))
    return folder / "inside.npz", folder / "outside.npz", folder / "third.npz"


def _run(source: Path, output: Path, **values: Any) -> Path:
    settings = {"channels": 1, "width": 16, "batch_size": 12, "loss": "ns", "warm_images": None, "lr": 3e-3, **values}
    loop.train(tiny(source, output, **{"images_seen": 2_160, **settings}))
    return output


def test_an_open_run_is_found_out_and_a_private_one_keeps_its_promise(
    sets: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside, outside, third = sets
    open_run = _run(inside, tmp_path / "open", gamma=0.0, warm_images=0, augment="off")
    # The discriminator of the open run has learnt its pictures by heart: the attack works.
    found = attack(open_run, outsiders_for(open_run, str(outside)), samples=20)
    assert found["judged"].auc > 0.85
    assert found["judged"].least_epsilon > 1.0  # more than the private run below promises
    private = _run(inside, tmp_path / "private", dp_epsilon=1.0)
    with pytest.raises(CheckpointError, match="trained on 48 of the pictures"):
        attack(private, outsiders_for(private, str(outside)), shadow=open_run)
    shadow = _run(third, tmp_path / "shadow", gamma=0.0, warm_images=0, augment="off", images_seen=240)
    kept = attack(private, outsiders_for(private, str(outside)), shadow=shadow, samples=20)
    assert kept.keys() == {"judged", "compared", "near"}
    for finding in kept.values():
        assert finding.advantage <= most_advantage(1.0, 1e-5)
        assert finding.least_epsilon <= 1.0
    assert kept["judged"].auc < 0.7
    assert main([str(private), "--outsiders", str(outside), "--samples", "20"]) == 0
    assert "no attack has an advantage over 46" in capsys.readouterr().out
    assert main([str(tmp_path / "none"), "--outsiders", str(outside)]) == 1
