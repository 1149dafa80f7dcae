"""The training loop: one function with callbacks, ignorant of Django, of the command line and of what it trains.

Order: settle the options, lock the folder, read the pictures, build the networks, take up a saved state; then step,
tick, snapshot until the length is reached or somebody wants to stop. The clock is pictures seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import files
from .config import TrainConfig, check_config
from .curves import draw_curves
from .data import Pictures, load_pictures, open_source
from .ema import Ema
from .errors import Collapsed, ConfigChanged, Diverged, OutOfMemory
from .feed import Feed
from .folder import CONFIG, CURVES, RunFolder, versions
from .meter import Meter
from .recipe import Recipe, make_recipe
from .runtime import thread_count
from .samples import SampleGrid, save_reals
from .state import collect, is_finite, restore

COLLAPSED_BELOW = 0.02
COLLAPSE_AFTER_IMAGES = 5_000
PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line of ``stats.jsonl``: where the run is and its figures, averaged since the tick before."""

    images_seen: int
    step: int
    seconds: float
    progress: float
    """Share of the wished length, 0..1."""
    values: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "images_seen": self.images_seen,
            "step": self.step,
            "seconds": round(self.seconds, 3),
            **{name: float(f"{value:.6g}") for name, value in self.values.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Told once, before the first step."""

    config: TrainConfig
    dataset: dict[str, Any]
    folder: Path
    resumed_at: int
    """Pictures seen by the state that was taken up; 0 for a new run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended: ``finished`` (length reached) or ``stopped`` (asked to; run again to go on)."""

    outcome: str
    folder: Path
    images_seen: int
    seconds: float
    latest: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What a host may listen to. None of them may change anything of the run."""

    on_start: Callable[[RunInfo], None] | None = None
    on_tick: Callable[[Tick], None] | None = None
    on_sample: Callable[[Path, int], None] | None = None
    on_progress: Callable[[float, int, float], None] | None = None
    on_decode: Callable[[int, int], None] | None = None
    should_stop: Callable[[], bool] | None = None


def train(
    config: TrainConfig,
    *,
    on_tick: Callable[[Tick], None] | None = None,
    on_sample: Callable[[Path, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_start: Callable[[RunInfo], None] | None = None,
    on_progress: Callable[[float, int, float], None] | None = None,
    on_decode: Callable[[int, int], None] | None = None,
    fresh: bool = False,
) -> TrainResult:
    """Train, or go on with the run that ``config.output`` holds.

    Args:
        config: the options; ``None`` values are chosen here.
        on_tick: called every ``tick_seconds`` with the figures.
        on_sample: called with the path of each new sheet of samples and the pictures seen.
        should_stop: asked before every step; the run saves and returns once it says yes.
        on_start: called once with the settled options and the manifest.
        on_progress: called a few times a second with (share, pictures seen, seconds).
        on_decode: called with (done, all) while pictures are read.
        fresh: start over even when there is a saved state.

    Raises:
        MLError: any of :mod:`.errors`; the folder keeps the last good state.
    """
    check_config(config)
    callbacks = Callbacks(
        on_start=on_start,
        on_tick=on_tick,
        on_sample=on_sample,
        on_progress=on_progress,
        on_decode=on_decode,
        should_stop=should_stop,
    )
    torch.set_num_threads(thread_count(config.threads))
    source = open_source(config)
    make_recipe(config, source)  # options that can't work are refused before the folder is touched
    folder = RunFolder(Path(config.output))
    folder.prepare()
    with files.folder_lock(folder.path):
        files.remove_leftovers(folder.path)
        pictures = load_pictures(source, config, folder.path, on_decode)
        recipe = make_recipe(config, source, len(pictures.images))
        try:
            return _Run(recipe, pictures, folder, callbacks, fresh).go()
        except torch.OutOfMemoryError:
            raise OutOfMemory(
                f"The {recipe.device.type} has too little memory for batches of {recipe.config.batch_size} at "
                f"{recipe.config.size} px. Try --batch-size {max(2, (recipe.config.batch_size or 4) // 2)} or a "
                "smaller --width, with --fresh."
            ) from None


class _Run:
    def __init__(
        self, recipe: Recipe, pictures: Pictures, folder: RunFolder, callbacks: Callbacks, fresh: bool
    ) -> None:
        self.config, self.device = recipe.config, recipe.device
        self.recipe, self.pictures, self.folder, self.callbacks = recipe, pictures, folder, callbacks
        self.batch = self.config.batch_size or 1
        self.step = 0
        self.seconds = 0.0
        self.saved_at = -1
        self.sampled_at = 0
        self.latest: dict[str, Any] = {}
        state = self._saved_state(fresh)
        self.learner = recipe.family.create(self.config, recipe.facts, self.device, pictures)
        self.ema = Ema(self.learner.generator, float(self.config.ema_images or 1))
        self.feed = Feed(pictures, self.config, recipe.facts, self.device)
        self.meter = Meter(self.device)
        self.grid = SampleGrid(self.config, recipe.facts, self.learner.generator, self.device)
        if state is not None:
            restore(self.learner, self.ema, state.tensors)
            self.step = int(state.values["step"])
            self.seconds = float(state.values["seconds"])
            self.saved_at = self.step
            self.sampled_at = int(state.values["sampled_at"])
            folder.cut_stats(self.images_seen)
            self.latest = (folder.read_stats() or [{}])[-1]
        self.resumed_at = self.images_seen
        self._write_config()

    @property
    def images_seen(self) -> int:
        return self.step * self.batch

    def _saved_state(self, fresh: bool) -> Any:
        if fresh or not self.folder.has_state():
            self.folder.clear()
            return None
        state = self.folder.load_state()
        assert state is not None
        ours = {**self.config.identity(), "pictures": self.pictures.digest}
        theirs = state.values["identity"]
        changed = [f"{n}: {theirs[n]!r} -> {ours[n]!r}" for n in sorted(ours) if n in theirs and theirs[n] != ours[n]]
        if changed:
            raise ConfigChanged(
                f"{self.folder.path} holds a run with other options ({'; '.join(_readable(changed))}). Use the "
                "old options to go on with it, --fresh to start over, or another --output."
            )
        return state

    def _write_config(self) -> None:
        described = {
            "format": 1,
            "config": self.config.as_dict(),
            "versions": versions(),
            "pictures": self.pictures.digest,
        }
        files.write_json(self.folder.path / CONFIG, described)

    def go(self) -> TrainResult:
        """Step until the end; save; say how it ended."""
        if self.callbacks.on_start:
            self.callbacks.on_start(
                RunInfo(
                    config=self.config,
                    dataset=self.pictures.manifest,
                    folder=self.folder.path,
                    resumed_at=self.resumed_at,
                )
            )
        save_reals(self.folder.path, self.pictures, self.grid)
        outcome = self._loop()
        if self.meter.steps:
            self._tick()
        if self.saved_at != self.step:
            self._snapshot(last=True)
        self._check_collapse()
        return TrainResult(
            outcome=outcome,
            folder=self.folder.path,
            images_seen=self.images_seen,
            seconds=self.seconds,
            latest=self.latest,
        )

    def _loop(self) -> str:
        began = time.perf_counter() - self.seconds
        next_tick = self.seconds + self.config.tick_seconds
        next_snapshot = self.seconds + self.config.snapshot_seconds
        next_progress = 0.0
        while self._share() < 1.0:
            if self.callbacks.should_stop is not None and self.callbacks.should_stop():
                return "stopped"
            with self.meter.waiting():
                batch = self.feed.batch(self.step)
            self.meter.add(self.learner.step(batch), self.step)
            self.step += 1
            self.ema.update(self.learner.generator, seen=self.images_seen, batch=self.batch)
            self.seconds = time.perf_counter() - began
            if self.callbacks.on_progress is not None and self.seconds >= next_progress:
                next_progress = self.seconds + PROGRESS_SECONDS
                self.callbacks.on_progress(self._share(), self.images_seen, self.seconds)
            if self.seconds >= next_tick:
                self._tick()
                next_tick = self.seconds + self.config.tick_seconds
            if self.seconds >= next_snapshot:
                self._snapshot()
                self.seconds = time.perf_counter() - began
                next_snapshot = self.seconds + self.config.snapshot_seconds
        return "finished"

    def _share(self) -> float:
        shares = [0.0]
        if self.config.images_seen:
            shares.append(self.images_seen / self.config.images_seen)
        if self.config.minutes:
            shares.append(self.seconds / (60.0 * self.config.minutes))
        return max(shares)

    def _tick(self) -> None:
        values = self.meter.flush(self.batch)
        values["ema_half_life"] = self.ema.current_half_life(self.images_seen)
        tick = Tick(
            images_seen=self.images_seen,
            step=self.step,
            seconds=self.seconds,
            progress=min(1.0, self._share()),
            values=values,
        )
        self.latest = tick.as_dict()
        self.folder.append_stats(self.latest)
        if self.callbacks.on_tick:
            self.callbacks.on_tick(tick)

    def _snapshot(self, *, last: bool = False) -> None:
        with self.meter.upkeep():
            tensors = collect(self.learner, self.ema)
            if not is_finite(tensors):
                raise Diverged(
                    f"A weight is no longer a finite number after {self.images_seen} pictures. The state of "
                    f"{max(0, self.saved_at) * self.batch} pictures is kept. Try a smaller --lr, or a larger --gamma, "
                    "with --fresh."
                )
            sheet, diversity = self.grid.draw(self.ema.module)
            self.meter.note("diversity", diversity / max(1e-6, self.feed.diversity))
            # Sheets get rarer as the run goes on, so that a long run doesn't fill the disk with them.
            new_sheet = last or self.images_seen >= 1.1 * self.sampled_at
            if new_sheet:
                self.sampled_at = self.images_seen
                path = self.folder.path / "samples" / f"{self.images_seen:09d}.png"
                files.write_bytes(path, sheet)
            self.folder.save_state(tensors, self._values())
            self.folder.save_model(self.ema.module.state_dict(), self._card())
            draw_curves(self.folder.read_stats(), self.folder.path / CURVES)
            self.saved_at = self.step
        if new_sheet and self.callbacks.on_sample:
            self.callbacks.on_sample(path, self.images_seen)

    def _values(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "images_seen": self.images_seen,
            "seconds": self.seconds,
            "sampled_at": self.sampled_at,
            "identity": {**self.config.identity(), "pictures": self.pictures.digest},
        }

    def _card(self) -> dict[str, Any]:
        facts = self.recipe.facts
        return {
            "architecture": self.recipe.family.name,
            "network": self.recipe.family.spec(self.config, facts),
            "size": facts.size,
            "channels": facts.channels,
            "categories": list(self.pictures.categories) if facts.categories else [],
            "images_seen": self.images_seen,
            "seconds": round(self.seconds, 1),
            "photos": facts.count,
            "pictures": self.pictures.digest,
            "prepare": self.config.prepare,
            "loss": self.config.loss,
            "seed": self.config.seed,
            "metrics": self.latest,
            "versions": versions(),
        }

    def _check_collapse(self) -> None:
        diversity = self.meter.notes.get("diversity")
        if diversity is not None and diversity < COLLAPSED_BELOW and self.images_seen >= COLLAPSE_AFTER_IMAGES:
            raise Collapsed(
                f"After {self.images_seen} pictures the generator makes the same picture whatever it is asked "
                f"(variety {diversity:.1%} of the photos'). The files are kept in {self.folder.path}. Try "
                "a larger --gamma, a smaller --lr, --augment auto, or --architecture modern, with --fresh."
            )


def _readable(changed: list[str]) -> list[str]:
    return [
        "the pictures or how they are prepared" if c.startswith("pictures:") else "--" + c.replace("_", "-", 1)
        for c in changed
    ]
