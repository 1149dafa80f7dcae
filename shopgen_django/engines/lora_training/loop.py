"""The loop of a fine-tuning: one function with callbacks, as ``ml.loop.train``, with the same folder and events.

Order: look at the base, lock the folder, look at the photos, compute latents and texts, let everything go that is not
trained, take up a saved state; then step, measure, tick, snapshot until the steps are done or somebody wants to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shopgen_django.engines.diffusers.install import load_libraries, require
from shopgen_django.engines.diffusers.memory import ran_out
from shopgen_django.ml import files
from shopgen_django.ml.curves import draw_curves
from shopgen_django.ml.errors import ConfigChanged, ConfigError, Diverged, OutOfMemory
from shopgen_django.ml.events import Tick, TrainResult
from shopgen_django.ml.folder import CONFIG, CURVES, DATASET, SAMPLES, RunFolder, versions
from shopgen_django.ml.meter import Meter
from shopgen_django.ml.runtime import choose_device, choose_precision, describe_machine, thread_count

from .base import Base
from .config import KIND, LoraConfig, check_config
from .learner import Learner
from .material import load_scheduler, prepare
from .measuring import Measure
from .objective import Objective
from .output import CARD, FILE, card_of, save_lora
from .photos import FEW_PHOTOS, Photos, read_photos
from .sampling import WITHOUT, Samples, save_reals

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraInfo:
    """Told once, before the first step; what :class:`~shopgen_django.ml.events.RunInfo` is for generators."""

    config: LoraConfig
    dataset: dict[str, Any]
    folder: Path
    resumed_at: int
    """Photos seen by the state that was taken up; 0 for a new run."""
    base: Base
    machine: str = ""


@dataclass(slots=True, kw_only=True)
class LoraCallbacks:
    """What a host may listen to; none may change anything of the run. As :class:`~shopgen_django.ml.events.Callbacks`.

    ``on_decode(done, all)`` hears of photos looked at, ``on_encode(done, all)`` of those whose latents are computed.
    """

    on_start: Callable[[LoraInfo], None] = lambda info: None
    on_tick: Callable[[Tick], None] = lambda tick: None
    on_sample: Callable[[Path, int], None] = lambda path, seen: None
    on_progress: Callable[[float, int, float], None] = lambda share, seen, seconds: None
    on_decode: Callable[[int, int], None] = lambda done, count: None
    on_encode: Callable[[int, int], None] = lambda done, count: None
    on_note: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


def train_lora(
    config: LoraConfig, base: Base, callbacks: LoraCallbacks | None = None, *, fresh: bool = False
) -> TrainResult:
    """Fine-tune ``base``, or go on with the run that ``config.output`` holds.

    Args:
        config: the options; ``None`` values are chosen here.
        base: what :func:`~.base.open_base` found in ``config.base``.
        callbacks: who listens.
        fresh: start over even when there is a saved state.

    Raises:
        MLError: wrong options, too few photos, a diverged loss, no memory; the folder keeps the last good state.
        PermanentError: what the engine raises when a part can't be loaded.
    """
    check_config(config)
    require("peft")
    callbacks = callbacks or LoraCallbacks()
    diffusers = load_libraries()
    import torch

    torch.set_num_threads(thread_count(config.threads))
    size = config.size or base.folder.size[0]
    if size % base.folder.multiple or size < 2 * base.folder.multiple:
        raise ConfigError(f"--size {size}: this base takes multiples of {base.folder.multiple}.")
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    folder = RunFolder(Path(config.output))
    folder.prepare()
    with files.folder_lock(folder.path):
        files.remove_leftovers(folder.path)
        photos = read_photos(config, size=size, on_progress=callbacks.on_decode)
        settled = config.settled(
            size=size, device=device.type, precision=precision, caption=photos.manifest["caption"],
            hold_out=photos.held_out,
        )
        try:
            return _Loop(diffusers, base, photos, settled, folder, callbacks, fresh=fresh).go()
        except RuntimeError as error:
            if not ran_out(error):
                raise
        raise OutOfMemory(
            f"The {device.type} has too little memory for this base at {size} px. Try --checkpointing, --batch 1 with "
            "a larger --accumulate, or a smaller --size. The last good state is kept."
        )


class _Loop:
    def __init__(
        self, diffusers: Any, base: Base, photos: Photos, config: LoraConfig, folder: RunFolder,
        callbacks: LoraCallbacks, *, fresh: bool,
    ) -> None:
        self.base, self.photos, self.config, self.folder, self.callbacks = base, photos, config, folder, callbacks
        self.identity = {**config.identity(), "pictures": photos.digest, "base": base.sha256}
        self.step, self.seconds, self.sampled_at, self.saved_at = 0, 0.0, -1, -1
        self.latest: dict[str, Any] = {}
        state = self._open(fresh=fresh)
        assert config.size is not None
        material = prepare(
            diffusers, base, photos, config, size=config.size, device=config.device, check=self._check,
            on_progress=callbacks.on_encode,
        )
        for note in (*self._notes(), *material.notes):
            callbacks.on_note(note)
        objective = Objective(
            diffusers, load_scheduler(diffusers, base), prediction=base.prediction, min_snr=config.min_snr
        )
        self.learner = Learner(diffusers, base, photos, material, config, objective)
        self.measure = Measure(self.learner, photos)
        self.samples = Samples(diffusers, base, self.learner, config, size=config.size, check=self._hurry)
        self.meter = Meter(self.learner.device)
        if state is not None:
            self._take_up(state.tensors, state.values)
        self._began = 0.0
        self._next_tick = self._next_snapshot = self._next_progress = 0.0

    # -- the folder --------------------------------------------------------------------------------

    def _open(self, *, fresh: bool) -> Any:
        """The saved state to go on with, or ``None`` and a cleared folder. Raises ConfigChanged."""
        folder = self.folder
        state = None
        known = files.read_json(folder.path / CONFIG) if (folder.path / CONFIG).is_file() else {}
        if known and known.get("config", {}).get("kind") != KIND:
            raise ConfigChanged(
                f"{folder.path} holds a run of another kind (train_gan). Choose another --output or --name."
            )
        if not fresh and folder.has_state():
            state = folder.load_state()
        if state is None:
            folder.clear()
            for name in (CARD, FILE, WITHOUT):
                (folder.path / name).unlink(missing_ok=True)
        else:
            self._compare(dict(state.values["identity"]))
        files.write_json(folder.path / CONFIG, {
            "format": 1, "config": self.config.as_dict(), "versions": versions(), "pictures": self.photos.digest,
            "base_sha256": self.base.sha256,
        })  # fmt: skip
        files.write_json(folder.path / DATASET, self.photos.manifest)
        return state

    def _compare(self, theirs: dict[str, Any]) -> None:
        words = {"pictures": "the photos or their captions", "base": "the base model"}
        changed = [
            f"{words.get(name) or '--' + name.replace('_', '-')}: {theirs.get(name)!r} -> {ours!r}"
            if name not in words else words[name]
            for name, ours in sorted(self.identity.items()) if theirs.get(name) != ours
        ]
        if changed:
            raise ConfigChanged(
                f"{self.folder.path} holds a run with other options ({'; '.join(changed)}). Use the old ones to go on "
                "with it, --fresh to start over, or another --output."
            )

    def _take_up(self, tensors: Any, values: dict[str, Any]) -> None:
        self.learner.restore(tensors)
        self.step = self.saved_at = int(values["step"])
        self.seconds = float(values["seconds"])
        self.sampled_at = int(values["sampled_at"])
        self.measure.load_state(values["measure"])
        self.folder.cut_stats(self.images_seen)
        self.latest = (self.folder.read_stats() or [{}])[-1]
        for name, value in values["notes"].items():
            self.meter.note(name, float(value))

    @property
    def images_seen(self) -> int:
        """Photos shown so far."""
        return self.step * self.config.step_images

    def _check(self) -> None:
        """A sign to stop before the first step: nothing is there to be saved yet."""
        if self.callbacks.should_stop():
            raise StoppedEarly("Stopped before the first step; nothing was learnt yet.")

    def _hurry(self) -> None:
        """Drawing samples must not keep somebody waiting who wants the run to stop."""
        if self.callbacks.should_stop():
            raise _Hurry

    def _notes(self) -> list[str]:
        count, manifest = len(self.photos.photos), self.photos.manifest
        told = []
        if count < FEW_PHOTOS:
            told.append(f"{count} photos are few: look at the samples often, the best step may come early.")
        if manifest["enlarged"]:
            told.append(f"{manifest['enlarged']} photos are smaller than {self.config.size} px and are enlarged.")
        if manifest["skipped"]:
            told.append(f"{len(manifest['skipped'])} files passed over; the reasons are in {DATASET}.")
        if not self.base.licence:
            told.append(
                f"{self.base.name} has no manifest, so its licence is not known here: see shopgen_model add."
            )
        return told

    # -- the run -----------------------------------------------------------------------------------

    def go(self) -> TrainResult:
        """Step until the end; save; say how it ended."""
        config, callbacks = self.config, self.callbacks
        callbacks.on_start(LoraInfo(
            config=config, dataset=self.photos.manifest, folder=self.folder.path, resumed_at=self.images_seen,
            base=self.base, machine=describe_machine(self.learner.device, config.precision, 1, layout=""),
        ))  # fmt: skip
        save_reals(self.photos, config, config.size or 0)
        self._began = time.perf_counter() - self.seconds
        self._next_tick, self._next_snapshot = (self.seconds + each for each in (
            config.tick_seconds, config.snapshot_seconds
        ))  # fmt: skip
        outcome = self._steps()
        if self.meter.steps:
            self._tick()
        if self.saved_at != self.step:
            self._snapshot(last=True)
        return TrainResult(
            outcome=outcome, folder=self.folder.path, images_seen=self.images_seen, seconds=self.seconds,
            latest=self.latest,
        )

    def _steps(self) -> str:
        config = self.config
        if self.step == 0:
            self._measure()
        while self.step < config.steps:
            if self.callbacks.should_stop():
                return "stopped"
            self.meter.add(self.learner.step(self.step), self.step)
            self.step += 1
            if self.step % config.measure_every == 0 or self.step == config.steps:
                self._measure()
            self._what_is_due()
        return "finished"

    def _what_is_due(self) -> None:
        self.seconds = now = time.perf_counter() - self._began
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_SECONDS
            self.callbacks.on_progress(self.step / self.config.steps, self.images_seen, now)
        if now >= self._next_tick:
            self._tick()
            self._next_tick = now + self.config.tick_seconds
        if now >= self._next_snapshot or self.step % self.config.sample_every == 0:
            self._snapshot()
            self._next_snapshot = time.perf_counter() - self._began + self.config.snapshot_seconds

    def _measure(self) -> None:
        with self.meter.upkeep():
            figures = self.measure.take(self.step)
        for name, value in figures.items():
            self.meter.note(name, value)
        if warning := self.measure.warning(figures):
            self.callbacks.on_note(warning)

    def _tick(self) -> None:
        tick = Tick(
            images_seen=self.images_seen, step=self.step, seconds=self.seconds,
            progress=min(1.0, self.step / self.config.steps), values=self.meter.flush(self.config.step_images),
        )
        self.latest = tick.as_dict()
        self.folder.append_stats(self.latest)
        self.callbacks.on_tick(tick)

    def _snapshot(self, *, last: bool = False) -> None:
        """Save state, LoRA, curves and, when one is due, a sheet. Raises Diverged; nothing is saved then."""
        if not self.learner.finite():
            raise Diverged(
                f"A weight is no longer a finite number after {self.step} steps. The state of {max(0, self.saved_at)} "
                "steps is kept. Try a smaller --lr with --fresh."
            )
        with self.meter.upkeep():
            sheet = self._sheet(last=last)
            values = {
                "step": self.step, "images_seen": self.images_seen, "seconds": self.seconds,
                "sampled_at": self.sampled_at, "measure": self.measure.state(),
                "notes": dict(self.meter.notes), "identity": self.identity,
            }
            self.folder.save_state(self.learner.collect(), values)
            metrics = {**self.latest, **self.meter.notes}
            save_lora(self.folder.path, self.learner, card_of(
                self.base, self.photos, self.config, size=self.config.size or 0, step=self.step, seconds=self.seconds,
                metrics=metrics,
            ))  # fmt: skip
            draw_curves(self.folder.read_stats(), self.folder.path / CURVES)
        self.saved_at = self.step
        if sheet is not None:
            self.callbacks.on_sample(sheet, self.images_seen)

    def _sheet(self, *, last: bool) -> Path | None:
        if not self.config.samples or self.sampled_at == self.step:
            return None
        if not last and self.step % self.config.sample_every:
            return None
        path = self.folder.path / SAMPLES / f"{self.images_seen:09d}.png"
        try:
            files.write_bytes(path, self.samples.draw())
        except _Hurry:
            return None
        self.sampled_at = self.step
        return path


class _Hurry(Exception):
    """The sheet is left out: the run is to stop."""


class StoppedEarly(ConfigError):
    """Somebody wanted the run to stop while latents and texts were being computed."""


def options_in(folder: Path) -> dict[str, Any]:
    """The options of the fine-tuning that a folder holds; empty when it holds none."""
    path = folder / CONFIG
    try:
        config = files.read_json(path)["config"] if path.is_file() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(config) if isinstance(config, dict) and config.get("kind") == KIND else {}


