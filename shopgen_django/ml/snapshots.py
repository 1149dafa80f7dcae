"""Snapshots of a run: taken, taken up again, put back. Process 0 reads and writes; the others are told.

What is saved is everything that a step reads: networks, average, optimisers, the learner's and the monitors' own
values, the position. Sampling and augmentation have no state (see :mod:`.seeding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from . import files
from .curves import draw_curves
from .errors import ConfigChanged, Diverged
from .folder import CONFIG, CURVES, SAMPLES, from_safetensors, to_safetensors, versions
from .meter import Meter
from .monitors import Monitor
from .run import Run
from .state import collect, is_finite, restore

MAX_ROLLBACKS = 2
SLOWER = 0.5
"""Factor of the learning rate for each time that an earlier state is put back."""


class Snapshots:
    """The saved states of one run."""

    def __init__(self, run: Run, meter: Meter, monitors: Sequence[Monitor]) -> None:
        self._run, self._meter, self._monitors = run, meter, monitors
        self._writes = run.processes.rank == 0
        self.grid = run.recipe.family.sheet(
            run.config, run.recipe.facts, run.learner, run.pictures, run.recipe.device
        )
        self.saved_at = -1
        """Step of the last state saved; -1 for none."""
        self._sampled_at = 0
        self._identity = {**run.config.identity(), "pictures": run.pictures.digest}

    # -- going on ------------------------------------------------------------------------------

    def open(self, *, fresh: bool) -> None:
        """Take up the folder's saved state, or clear the folder when there is none or ``fresh``.

        Raises:
            ConfigChanged: the state is of a run with other options.
            CheckpointError: none of the states is whole, or they don't fit.
        """
        folder = self._run.folder
        if self._writes:
            if fresh or not folder.has_state():
                folder.clear()
            else:
                self._take_up(best=False)
                folder.cut_stats(self._run.images_seen)
            described = {
                "format": 1,
                "config": self._run.config.as_dict(),
                "versions": versions(),
                "pictures": self._run.pictures.digest,
            }
            files.write_json(folder.path / CONFIG, described)
        self._share()

    def _take_up(self, *, best: bool) -> None:
        state = self._run.folder.load_state(best=best)
        assert state is not None
        theirs = state.values["identity"]
        changed = [
            f"{name}: {theirs[name]!r} -> {ours!r}"
            for name, ours in sorted(self._identity.items())
            if name in theirs and theirs[name] != ours
        ]
        if changed:
            raise ConfigChanged(
                f"{self._run.folder.path} holds a run with other options ({'; '.join(_readable(changed))}). Use the "
                "old options to go on with it, --fresh to start over, or another --output."
            )
        self._apply(state.tensors, state.values)

    def _apply(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        run = self._run
        restore(run.learner, run.ema, tensors, values.get("learner", {}))
        run.step = int(values["step"])
        run.seconds = float(values["seconds"])
        run.rollbacks = int(values.get("rollbacks", 0))
        run.learner.set_lr_scale(SLOWER**run.rollbacks)
        if run.rollbacks:
            self._meter.note("rollbacks", float(run.rollbacks))
        self.saved_at = int(values.get("saved_at", run.step))
        self._sampled_at = int(values["sampled_at"])
        saved = values.get("monitors", {})
        for monitor in self._monitors:
            if monitor.name in saved:
                monitor.load_state(saved[monitor.name])

    def _share(self) -> None:
        """Give every process what process 0 has, bit by bit."""
        run = self._run
        if run.processes.count == 1:
            return
        data = b""
        if self._writes:
            data = to_safetensors(collect(run.learner, run.ema), {**self._values(), "saved_at": self.saved_at})
        data = run.processes.from_first(data)
        if not self._writes:
            self._apply(*from_safetensors(data))

    # -- going back ----------------------------------------------------------------------------

    def roll_back(self, reason: Exception, *, best: bool = False) -> str:
        """Put the best or the last saved state back, or begin anew when nothing was saved; halve the learning rate.

        Returns a line for the log. The clock keeps running.

        Raises:
            Exception: ``reason``, when it was tried :data:`MAX_ROLLBACKS` times or the learner may not go back.
        """
        run = self._run
        if run.rollbacks >= MAX_ROLLBACKS or not run.learner.may_roll_back:
            raise reason
        rollbacks, seconds, at = run.rollbacks + 1, run.seconds, run.images_seen
        if self._writes:
            best = best and run.folder.has_best()
            if best or run.folder.has_state():
                self._take_up(best=best)
            else:
                run.make_networks()
                run.step = 0
            run.folder.cut_stats(run.images_seen)
        elif self.saved_at < 0:
            run.make_networks()
        run.seconds = seconds
        run.rollbacks = rollbacks
        self._share()
        run.learner.set_lr_scale(SLOWER**rollbacks)
        self._meter.forget()
        self._meter.note("rollbacks", float(rollbacks))
        which = "the best state" if best else "the last good state"
        return (
            f"At {at} pictures: {reason} Going on from {which}, of {run.images_seen} pictures, with the learning rate "
            f"times {run.learner.lr_scale:g}."
        )

    # -- saving --------------------------------------------------------------------------------

    def take(self, latest: Mapping[str, Any], *, last: bool = False) -> Path | None:
        """Ask the monitors, then save state, model, curves and, now and then, a sheet of samples; returns its path.

        Raises:
            Diverged: a weight is not a finite number, or a monitor wants to go back; nothing is saved.
            MLError: a monitor stops the run; nothing is saved.
        """
        run = self._run
        with self._meter.upkeep():
            tensors = collect(run.learner, run.ema)
            if not is_finite(tensors):
                raise Diverged(
                    f"A weight is no longer a finite number after {run.images_seen} pictures. The state of "
                    f"{max(0, self.saved_at) * run.batch} pictures is kept. Try a smaller --lr, or a larger --gamma, "
                    "with --fresh."
                )
            run.processes.compare(tensors)
            path, wish = self._write(tensors, latest, last=last) if self._writes else (None, "")
            wish = run.processes.from_first(wish)
            if wish:
                raise WantsBack(wish)
            self.saved_at = run.step
        return path

    def _write(
        self, tensors: Mapping[str, Tensor], latest: Mapping[str, Any], *, last: bool
    ) -> tuple[Path | None, str]:
        run = self._run
        sheet, diversity = self.grid.draw(run.ema.module)
        self._meter.note("diversity", diversity / max(1e-6, run.feed.diversity))
        best = False
        for monitor in self._monitors:
            advice = monitor.on_snapshot(run)
            for name, value in advice.figures.items():
                self._meter.note(name, value)
            best = best or advice.best
            if advice.roll_back:
                return None, advice.roll_back
        path = None
        # Sheets get rarer as the run goes on, so that a long run doesn't fill the disk with them.
        if last or run.images_seen >= 1.1 * self._sampled_at:
            self._sampled_at = run.images_seen
            path = run.folder.path / SAMPLES / f"{run.images_seen:09d}.png"
            files.write_bytes(path, sheet)
        run.folder.save_state(tensors, self._values())
        run.folder.save_model(run.ema.module.state_dict(), self._card({**latest, **self._meter.notes}))
        if best:
            run.folder.keep_best()
        draw_curves(run.folder.read_stats(), run.folder.path / CURVES)
        return path, ""

    def close(self) -> list[str]:
        """The run is over: the monitors' last words, for the log."""
        return [told for monitor in self._monitors if self._writes and (told := monitor.on_end(self._run))]

    def _values(self) -> dict[str, Any]:
        run = self._run
        return {
            "step": run.step,
            "images_seen": run.images_seen,
            "seconds": run.seconds,
            "sampled_at": self._sampled_at,
            "rollbacks": run.rollbacks,
            "learner": run.learner.extra_state(),
            "monitors": {monitor.name: monitor.state() for monitor in self._monitors if monitor.name},
            "identity": self._identity,
        }

    def _card(self, latest: Mapping[str, Any]) -> dict[str, Any]:
        run = self._run
        facts, config = run.recipe.facts, run.config
        return {
            "architecture": run.recipe.family.name,
            "purpose": run.recipe.family.purpose,
            "network": run.recipe.family.spec(config, facts),
            "size": facts.size,
            "channels": facts.channels,
            "categories": list(run.pictures.categories) if facts.categories else [],
            "images_seen": run.images_seen,
            "seconds": round(run.seconds, 1),
            "photos": facts.count,
            "pictures": run.pictures.digest,
            "prepare": config.prepare,
            "loss": config.loss,
            "seed": config.seed,
            "metrics": dict(latest),
            "measured": {monitor.name: told for monitor in self._monitors if (told := monitor.describe())},
            "versions": versions(),
            **run.learner.card(),
        }


class WantsBack(Diverged):
    """A monitor found the run worse than it was."""


def _readable(changed: list[str]) -> list[str]:
    return [
        "the pictures or how they are prepared" if c.startswith("pictures:") else "--" + c.replace("_", "-", 1)
        for c in changed
    ]
