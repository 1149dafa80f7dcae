"""Watches a run: pictures of each snapshot are measured against the photos, and alarms are raised.

Costs at most a tenth of the run's time: when a measurement would exceed that, it is left out until there is time again.
Private runs have none of this, since all of it looks at the photos.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .alarms import WORDS, Seen, Watch
from .errors import ConfigError
from .evaluation.extractors import Extractor, load_extractor
from .families.base import Generator
from .metrics import Features, frechet_distance, kid_estimate, manifold, nearest, nearest_of_own, pair_distance
from .monitors import Advice, Monitor
from .run import Run
from .samples import to_bytes
from .seeding import generator

FIGURES = ("kid", "coverage", "precision", "recall", "density", "fid", "memory")
DEFAULT = ("kid", "coverage")
ENOUGH = 64
"""Photos from which ``--metrics auto`` measures: with fewer the figures are noise."""
MADE = 256
"""Pictures made for a measurement."""
REAL = 512
"""Photos compared with at most."""
SHARE = 0.1
"""Of the run's time that measuring may take."""
PROBE = 8
NEIGHBOURS = 5
CHUNK = 32


def chosen_figures(wish: str, photos: int) -> tuple[str, ...]:
    """What ``--metrics`` asks for: names, separated by commas, or ``auto`` or ``none``.

    Raises:
        ConfigError: an unknown name.
    """
    names = tuple(name.strip().lower() for name in wish.split(",") if name.strip())
    if names in (("auto",), ()):
        return DEFAULT if photos >= ENOUGH else ()
    if names == ("none",):
        return ()
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise ConfigError(
            f"--metrics: there is no figure {', '.join(unknown)}. Choose from {', '.join(FIGURES)}, separated by "
            "commas, or auto, or none."
        )
    if photos < ENOUGH:
        raise ConfigError(f"--metrics needs at least {ENOUGH} photos; there are {photos}. Leave it out.")
    return names


class Judge(Monitor):
    """Measures snapshots, keeps the best, raises alarms (see :mod:`.alarms`)."""

    name = "judge"

    def __init__(self, *, loss: str, figures: tuple[str, ...], extractor: Extractor | None = None) -> None:
        self._figures = figures
        self._extractor = extractor
        self.watch = Watch(loss=loss)
        self._real: Features | None = None
        self._labels: NDArray[np.int64] | None = None
        self._usual: Features | None = None
        """Distances of held-out photos (of photos among themselves when none are) to the nearest one."""
        self._spent = 0.0
        self._cost = 0.0
        self._last: Seen | None = None

    def on_tick(self, run: Run, values: Mapping[str, float]) -> Mapping[str, float]:
        self.watch.tick(values, step=run.step, images_seen=run.images_seen)
        return self.watch.figures()

    def on_snapshot(self, run: Run) -> Advice:
        figures: dict[str, float] = {}
        best = False
        if self._figures and self._has_time(run):
            began = time.perf_counter()
            figures, seen = self._measure(run)
            self._cost = time.perf_counter() - began
            self._spent += self._cost
            figures["measuring"] = self._spent / max(1e-9, run.seconds)
            best = self.watch.snapshot(seen)
            self._last = seen
        alarm = self.watch.wants_back()
        if alarm:
            self.watch.mend(alarm, run.images_seen)
        return Advice(figures=figures, best=best, roll_back=WORDS[alarm] if alarm else "")

    def on_end(self, run: Run) -> str:
        """Serve the best state where it is clearly better than the last; returns what to tell, or nothing."""
        if self._last is None or not run.folder.has_best() or not self.watch.last_is_worse(self._last):
            return ""
        if not run.folder.publish_best():
            return ""
        return (
            f"The model of {self.watch.best_at} pictures (KID {self.watch.best_kid:.4f}) is kept instead of the last "
            f"one, of {self._last.images_seen} (KID {self._last.kid:.4f})."
        )

    def describe(self) -> dict[str, Any]:
        """What the figures were measured with, for the model's card."""
        if self._extractor is None or self._real is None:
            return {}
        return {"extractor": str(self._extractor.identity), "made": MADE, "real": len(self._real)}

    def state(self) -> dict[str, Any]:
        return {**self.watch.state(), "spent": self._spent, "cost": self._cost}

    def load_state(self, values: Mapping[str, Any]) -> None:
        mended = self.watch.mended  # what has happened has happened, though the state from before it is back
        self.watch.load_state(values)
        self.watch.mended = {**self.watch.mended, **mended}
        self._spent, self._cost = max(self._spent, float(values["spent"])), float(values["cost"])

    def _has_time(self, run: Run) -> bool:
        cost = self._cost or self._probe(run)
        return self._spent + cost <= SHARE * run.seconds

    def _probe(self, run: Run) -> float:
        """What the first measurement will take, from a few pictures."""
        extractor, labels = self._prepared(), np.zeros(PROBE, dtype=np.int64)
        pictures = to_bytes(self._made(run, labels))
        extractor.features(pictures)  # the first call of a network prepares it
        began = time.perf_counter()
        self._made(run, labels)
        made = time.perf_counter()
        extractor.features(pictures)
        ended = time.perf_counter()
        photos = min(REAL, len(run.pictures.trained_on)) + len(run.pictures.held_out)
        return ((made - began) * MADE + (ended - made) * (MADE + photos)) / PROBE

    def _prepared(self) -> Extractor:
        if self._extractor is None:
            self._extractor = load_extractor()
        return self._extractor

    def _photos(self, run: Run) -> tuple[Features, NDArray[np.int64], Features]:
        """Features and categories of the photos, and how near they usually are to each other; worked out once."""
        if self._real is None or self._labels is None or self._usual is None:
            extractor, pictures = self._prepared(), run.pictures
            shown = pictures.trained_on
            some = shown[np.linspace(0, len(shown) - 1, min(REAL, len(shown))).round().astype(np.int64)]
            self._real = extractor.features(np.ascontiguousarray(pictures.images[some]))
            self._labels = pictures.labels[some]
            if len(pictures.held_out) >= 2 * NEIGHBOURS:
                held = extractor.features(np.ascontiguousarray(pictures.images[pictures.held_out]))
                self._usual = nearest(held, self._real)[1]
            else:
                self._usual = nearest_of_own(self._real)
        return self._real, self._labels, self._usual

    def _measure(self, run: Run) -> tuple[dict[str, float], Seen]:
        real, labels, usual = self._photos(run)
        wanted = labels[np.linspace(0, len(labels) - 1, MADE).round().astype(np.int64)]
        made = self._prepared().features(to_bytes(self._made(run, wanted)))
        estimate = kid_estimate(real, made, halves=50)
        near = manifold(real, made, neighbours=NEIGHBOURS)
        seen = Seen(
            images_seen=run.images_seen, kid=estimate.value, kid_error=estimate.error, coverage=near.coverage,
            variety=pair_distance(made) / max(1e-12, pair_distance(real)),
            memory=float(np.median(nearest(made, real)[1])) / max(1e-12, float(np.median(usual))),
        )  # fmt: skip
        every = {
            "kid": seen.kid, "coverage": seen.coverage, "precision": near.precision, "recall": near.recall,
            "density": near.density, "memory": seen.memory or 0.0,
        }  # fmt: skip
        if "fid" in self._figures:
            every["fid"] = frechet_distance(real, made)
        figures = {name: every[name] for name in self._figures}
        return {**figures, "kid_error": seen.kid_error, "feature_variety": seen.variety}, seen

    @torch.no_grad()
    def _made(self, run: Run, labels: NDArray[np.int64]) -> torch.Tensor:
        """The averaged generator's pictures of these categories, of the same random vectors every time."""
        network, generates = run.ema.module, cast(Generator, run.learner.generator)
        device = run.recipe.device
        numbers = torch.from_numpy(labels if run.recipe.facts.categories else np.zeros_like(labels))
        vectors = generates.draw(generator(run.config.seed, "judge"), numbers)
        parts = zip(vectors.split(CHUNK), numbers.split(CHUNK), strict=True)
        return torch.cat([network(z.to(device), y.to(device)).float().cpu() for z, y in parts])

