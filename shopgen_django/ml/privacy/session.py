"""What the training loop calls in a private run: networks, feed, a keyed digest, the budget among the figures.

Everything that must stay in the house lies in the sub-folder ``private`` of the output folder (mode 0700): decoded
photos, their manifest, the run's secret. What lies outside of it is the model and what can be computed from it, except
for timings, which depend a little on how many products a step happened to draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shopgen_django.ml import files
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import CACHE_FILE, Pictures, Progress, Source, load_pictures
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import DataFacts
from shopgen_django.ml.folder import DATASET, PRIVATE, REALS, RunFolder
from shopgen_django.ml.monitors import Advice, Monitor
from shopgen_django.ml.recipe import Recipe
from shopgen_django.ml.run import Run

from .feed import PoissonFeed
from .learner import PrivateLearner
from .plan import Plan, make_plan
from .secret import SECRET_BYTES, draw_secret, keyed_digest
from .units import Units, find_units

SECRET_FILE = "secret"  # noqa: S105 - a name, not the secret


def private_folder(output: Path) -> Path:
    """The sub-folder for what must not leave the house, made when it is missing."""
    folder = output / PRIVATE
    with files.disk_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    return folder


def forget_secret(output: Path) -> None:
    """A run that starts over draws a new secret; pictures that an open run left outside are removed."""
    (output / PRIVATE / SECRET_FILE).unlink(missing_ok=True)
    for name in (CACHE_FILE, DATASET, REALS):
        (output / name).unlink(missing_ok=True)


def run_secret(output: Path) -> bytes:
    """The run's secret, drawn on first use."""
    path = private_folder(output) / SECRET_FILE
    if not path.exists():
        secret = draw_secret()
        files.write_bytes(path, secret.hex().encode())
        path.chmod(0o600)
        return secret
    try:
        secret = bytes.fromhex(path.read_text())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path} is damaged. Restore it from a copy, or start over with --fresh.")
    return secret


def load_sealed(
    source: Source, config: TrainConfig, folder: RunFolder, on_decode: Progress | None = None, *, fresh: bool
) -> Pictures:
    """Read the pictures of a private run, keeping everything about them in the private sub-folder."""
    if fresh or not folder.has_state():
        forget_secret(folder.path)
    return sealed(load_pictures(source, config, private_folder(folder.path), on_decode), folder.path)


def sealed(pictures: Pictures, output: Path) -> Pictures:
    """The same pictures under a digest that tells nothing to who doesn't hold the secret.

    The plain one, over the files' hashes, would confirm a guess of what the run was trained on.
    """
    manifest = {**pictures.manifest, "digest": keyed_digest(run_secret(output), pictures.digest)}
    return replace(pictures, manifest=manifest, held_out=np.empty(0, dtype=np.int64))


def private_learner(recipe: Recipe, pictures: Pictures) -> PrivateLearner:
    """The networks of the recipe, to be trained privately."""
    plan = make_plan(recipe.config, find_units(pictures))
    learner = _learner(recipe, pictures)
    learner.hold(run_secret(Path(recipe.config.output)))
    learner.begin(plan)
    return learner


def _learner(recipe: Recipe, pictures: Pictures) -> PrivateLearner:
    config, facts = recipe.config, recipe.facts
    # The family gets no photos to look at: one that wants to fails here, not in the promise.
    nothing = {"digest": "", "files": []}
    blind = replace(pictures, images=pictures.images[:0], labels=pictures.labels[:0], manifest=nothing)
    game = recipe.family.create(config, facts, recipe.device, blind)
    if not isinstance(game, AdversarialLearner):
        raise ConfigError(f"--architecture {recipe.family.name} has no discriminator; it can't be trained privately.")
    return PrivateLearner(
        game,
        categories=facts.categories,
        batch=config.batch_size or 1,
        pace=config.n_critic,
        look=config.unsafe_metrics,
    )


def rehearsal(recipe: Recipe, pictures: Pictures) -> tuple[PrivateLearner, PoissonFeed]:
    """Learner and feed for measuring speed on made-up pictures; nothing is written and no budget is planned."""
    batch = recipe.config.batch_size or 1
    count = len(pictures.images)
    learner = _learner(recipe, pictures)
    plan = Plan(
        epsilon=1.0, delta=1e-5, noise=1.0, clip=1.0, sample_rate=batch / count, steps=1_000_000, units=count,
        pictures=count, named=False,
    )  # fmt: skip
    secret = draw_secret()
    learner.hold(secret)
    learner.begin(plan)
    units = Units(members=tuple(np.array([i]) for i in range(count)), named=False)
    feed = PoissonFeed(
        pictures, units, recipe.config, recipe.facts, recipe.device, sample_rate=batch / count, secret=secret
    )
    return learner, feed


def private_feed(pictures: Pictures, config: TrainConfig, facts: DataFacts, device: torch.device) -> PoissonFeed:
    """The feed of a private run."""
    units = find_units(pictures)
    return PoissonFeed(
        pictures,
        units,
        config,
        facts,
        device,
        sample_rate=(config.batch_size or 1) / units.count,
        secret=run_secret(Path(config.output)),
    )


class PrivacyMonitor(Monitor):
    """Shows what was spent. The only monitor of a private run: the others look at photos."""

    name = "privacy"

    def on_tick(self, run: Run, values: Mapping[str, float]) -> Mapping[str, float]:
        """``epsilon`` so far, an upper bound."""
        assert isinstance(run.learner, PrivateLearner)
        return {"epsilon": run.learner.ledger.epsilon()}

    def on_snapshot(self, run: Run) -> Advice:
        """No advice: no snapshot is called the best one by looking at photos."""
        return Advice()


class FiguresOnly(Monitor):
    """A monitor that looks at photos, for ``--unsafe-metrics``: its figures are shown, its advice is not taken.

    So the figures are outside of the promise, and the model stays inside: no photo has a say in which snapshot is kept
    or when a run ends.
    """

    def __init__(self, inner: Monitor) -> None:
        self._inner = inner

    def on_snapshot(self, run: Run) -> Advice:
        """The inner monitor's figures."""
        return Advice(figures=self._inner.on_snapshot(run).figures)

    def describe(self) -> dict[str, Any]:
        """What the figures can be compared within."""
        return self._inner.describe()
