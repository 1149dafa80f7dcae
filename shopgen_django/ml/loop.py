"""The training loop: one function with callbacks, ignorant of Django, of the command line and of what it trains.

Order: settle the options, lock the folder, read the pictures, build the networks, take up a saved state; then step,
tick, snapshot until the length is reached or somebody wants to stop. The clock is pictures seen.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import files
from .config import TrainConfig, check_config
from .data import Pictures, Progress, Source, cached_pictures, hold_out, load_pictures, open_source
from .errors import Collapsed, ConfigError, DatasetError, Diverged, OutOfMemory
from .events import Callbacks, RunInfo, Tick, TrainResult
from .folder import RunFolder
from .launch import company
from .meter import Meter
from .monitors import make_monitors
from .processes import Processes
from .recipe import Recipe, make_recipe
from .run import Run, make_run
from .runtime import choose_device, describe_machine, is_out_of_memory, prepare_device, thread_count
from .samples import save_reals
from .seat import Seat
from .snapshots import Snapshots, WantsBack

__all__ = ["Callbacks", "RunInfo", "Tick", "TrainResult", "train"]

COLLAPSED_BELOW = 0.02
COLLAPSE_AFTER_IMAGES = 5_000
PROGRESS_SECONDS = 0.2


def train(
    config: TrainConfig,
    *,
    on_tick: Callable[[Tick], None] | None = None,
    on_sample: Callable[[Path, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_start: Callable[[RunInfo], None] | None = None,
    on_progress: Callable[[float, int, float], None] | None = None,
    on_decode: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    fresh: bool = False,
    seat: Seat | None = None,
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
        on_note: called with a line that a person should read: an earlier state was put back, memory ran out ...
        fresh: start over even when there is a saved state.
        seat: this process' place when a launcher started several; without one ``config.processes`` are started here.

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
        on_note=on_note,
        should_stop=should_stop,
    )
    seated = seat or Seat(rank=0, count=config.processes, local_rank=0, local_count=config.processes)
    torch.set_num_threads(thread_count(config.threads, seated.local_count))
    if seated.rank > 0:
        with company(config, choose_device(config.device), seat) as processes:
            return train_along(config, processes, seated, should_stop=should_stop)
    source = open_source(config)
    settled = make_recipe(config, source).config  # options that can't work are refused before the folder is touched
    folder = RunFolder(Path(config.output))
    folder.prepare()
    with files.folder_lock(folder.path):
        files.remove_leftovers(folder.path)
        pictures = hold_out(_read(source, config, folder, on_decode, fresh=fresh), settled)
        recipe = make_recipe(config, source, len(pictures.trained_on))
        if seated.count > (recipe.config.batch_size or 1):
            raise ConfigError(
                f"{seated.count} processes can't share batches of {recipe.config.batch_size}; "
                "give a larger --batch-size."
            )
        # The others come in only now: reading pictures for the first time may take hours.
        with company(config, recipe.device, seat) as processes:
            return _go(recipe, pictures, folder, callbacks, processes, fresh=fresh)


def train_along(
    config: TrainConfig, processes: Processes, seat: Seat, *, should_stop: Callable[[], bool] | None = None
) -> TrainResult:
    """What every process but number 0 does: the same steps, nothing else. Process 0 runs :func:`train`.

    Raises:
        ConfigError, DatasetError: this process has other options or pictures than process 0.
        ProcessLost: process 0 or another one is gone.
    """
    torch.set_num_threads(thread_count(config.threads, seat.local_count))
    source = open_source(config)
    digest = processes.from_first("")
    with tempfile.TemporaryDirectory(prefix="train-along-") as own:
        pictures = cached_pictures(Path(config.output), digest) or load_pictures(source, config, Path(own))
        if pictures.digest != digest:
            raise DatasetError(
                f"Process {processes.rank} finds other pictures in {config.source} than process 0. Every host needs "
                "the same files there."
            )
        pictures = hold_out(pictures, make_recipe(config, source).config)
        recipe = make_recipe(config, source, len(pictures.trained_on))
        return _go(recipe, pictures, RunFolder(Path(config.output)), Callbacks(should_stop=should_stop), processes)


def _go(
    recipe: Recipe,
    pictures: Pictures,
    folder: RunFolder,
    callbacks: Callbacks,
    processes: Processes,
    *,
    fresh: bool = False,
) -> TrainResult:
    config = recipe.config
    prepare_device(recipe.device)
    if processes.rank == 0:
        processes.from_first(pictures.digest)
    theirs, ours = processes.from_first(config.identity()), config.identity()
    if odd := [name for name in ours if theirs[name] != ours[name]]:
        raise ConfigError(
            f"Process {processes.rank} was started with other options than process 0: "
            + ", ".join(f"--{name.replace('_', '-')} {ours[name]!r}, not {theirs[name]!r}" for name in odd)
        )
    try:
        return _Loop(make_run(recipe, pictures, folder, processes), callbacks, fresh=fresh).go()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"The {recipe.device.type} has too little memory for the networks at {config.size} px, even with one "
            "picture at a time. Try a smaller --width or --size, with --fresh."
        ) from None


def _read(
    source: Source, config: TrainConfig, folder: RunFolder, on_decode: Progress | None, *, fresh: bool
) -> Pictures:
    if config.dp_epsilon is None:
        return load_pictures(source, config, folder.path, on_decode)
    from .privacy.session import load_sealed

    return load_sealed(source, config, folder, on_decode, fresh=fresh)


class _Loop:
    def __init__(self, run: Run, callbacks: Callbacks, *, fresh: bool) -> None:
        self.run, self.callbacks, self.config = run, callbacks, run.config
        self.latest: dict[str, Any] = {}
        run.learner.say = callbacks.note
        self.meter = Meter(run.recipe.device)
        self.monitors = make_monitors(run.recipe, run.pictures) if run.processes.rank == 0 else []
        self.snapshots = Snapshots(run, self.meter, self.monitors)
        self.snapshots.open(fresh=fresh)
        if run.step:
            self.latest = (run.folder.read_stats() or [{}])[-1]
        self.resumed_at = run.images_seen
        self._began = 0.0
        """The clock's reading when the run would have begun without a pause."""
        self._next_tick = run.seconds + self.config.tick_seconds
        self._next_snapshot: float | None = run.seconds + self.config.snapshot_seconds
        self._next_progress = 0.0
        self._stepped = False
        """Whether there was a step since it was last asked what is due."""

    def go(self) -> TrainResult:
        """Step until the end; save; say how it ended."""
        run = self.run
        if self.callbacks.on_start:
            self.callbacks.on_start(
                RunInfo(
                    config=self.config,
                    dataset=run.pictures.manifest,
                    folder=run.folder.path,
                    resumed_at=self.resumed_at,
                    machine=describe_machine(run.recipe.device, self.config.precision, run.processes.count),
                )
            )
        for note in (*run.how_it_computes(), *run.learner.notes()):
            self.callbacks.note(note)
        if run.processes.rank == 0 and self.config.dp_epsilon is None:
            save_reals(run.folder.path, run.pictures, self.snapshots.grid)
        self._began = time.perf_counter() - run.seconds
        while True:
            try:
                outcome, reason = self._steps()
                if self.meter.steps:
                    self._tick()
                if self.snapshots.saved_at != run.step:
                    self._snapshot(last=True)
                break
            except Diverged as error:
                self._back(error)
        self._check_collapse()
        for told in self.snapshots.close():
            self.callbacks.note(told)
        return TrainResult(
            outcome=outcome,
            folder=run.folder.path,
            images_seen=run.images_seen,
            seconds=run.seconds,
            latest=self.latest,
            reason=reason,
        )

    def _steps(self) -> tuple[str, str]:
        """Steps, ticks and snapshots up to the end; how it ended, and why if it was before its time."""
        run = self.run
        while True:
            stop = self._agree()
            if self._stepped:
                self._stepped = False
                self._what_is_due()
            if run.share >= 1.0:
                return "finished", ""
            if stop:
                return "stopped", ""
            if reason := run.learner.end_reason():
                return "finished", reason
            run.learner.share = run.share
            run.learner.before_step(run.step, run.images_seen)
            with self.meter.waiting():
                batch = run.feed.batch(run.step)
            self.meter.add(run.learner.step(batch), run.step)
            run.step += 1
            run.ema.update(run.learner.generator, seen=run.images_seen, batch=run.batch)
            self._stepped = True

    def _agree(self) -> bool:
        """Set the time that counts for all processes; whether any of them wants to stop."""
        run = self.run
        run.seconds = time.perf_counter() - self._began
        stop = self.callbacks.should_stop is not None and self.callbacks.should_stop()
        if run.processes.count > 1:
            told = run.processes.largest([float(stop), run.seconds if run.processes.rank == 0 else 0.0])
            stop, run.seconds = told[0] > 0.0, told[1]
        if self._next_snapshot is None:
            self._next_snapshot = run.seconds + self.config.snapshot_seconds
        return stop

    def _what_is_due(self) -> None:
        run = self.run
        if self.callbacks.on_progress is not None and run.seconds >= self._next_progress:
            self._next_progress = run.seconds + PROGRESS_SECONDS
            self.callbacks.on_progress(run.share, run.images_seen, run.seconds)
        if run.seconds >= self._next_tick:
            self._tick()
            self._next_tick = run.seconds + self.config.tick_seconds
        if self._next_snapshot is not None and run.seconds >= self._next_snapshot:
            self._snapshot()
            self._next_snapshot = None  # its own time does not count

    def _back(self, error: Diverged) -> None:
        try:
            told = self.snapshots.roll_back(error, best=isinstance(error, WantsBack))
        except WantsBack:
            if self.run.processes.rank == 0:
                self.run.folder.publish_best()
            raise
        self._stepped = False
        self.callbacks.note(told)

    def _tick(self) -> None:
        run = self.run
        values = self.meter.flush(run.batch)
        values["ema_half_life"] = run.ema.current_half_life(run.images_seen)
        for monitor in self.monitors:
            values.update(monitor.on_tick(run, values))
        tick = Tick(
            images_seen=run.images_seen,
            step=run.step,
            seconds=run.seconds,
            progress=min(1.0, run.share),
            values=values,
        )
        self.latest = tick.as_dict()
        if run.processes.rank == 0:
            run.folder.append_stats(self.latest)
        if self.callbacks.on_tick:
            self.callbacks.on_tick(tick)

    def _snapshot(self, *, last: bool = False) -> None:
        sheet = self.snapshots.take(self.latest, last=last)
        if sheet is not None and self.callbacks.on_sample:
            self.callbacks.on_sample(sheet, self.run.images_seen)

    def _check_collapse(self) -> None:
        diversity = self.meter.notes.get("diversity")
        if diversity is not None and diversity < COLLAPSED_BELOW and self.run.images_seen >= COLLAPSE_AFTER_IMAGES:
            raise Collapsed(
                f"After {self.run.images_seen} pictures the generator makes the same picture whatever it is asked "
                f"(variety {diversity:.1%} of the photos'). The files are kept in {self.run.folder.path}. Try "
                "a larger --gamma, a smaller --lr, --augment auto, or --architecture modern, with --fresh."
            )
