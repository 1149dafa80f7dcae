"""What a run tells its host, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import TrainConfig


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
    machine: str = ""
    """What it computes on, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended: ``finished`` (length reached) or ``stopped`` (asked to; run again to go on)."""

    outcome: str
    folder: Path
    images_seen: int
    seconds: float
    latest: dict[str, Any]
    reason: str = ""
    """Why it was finished before its length, when the learner said so."""


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What a host may listen to. None of them may change anything of the run."""

    on_start: Callable[[RunInfo], None] | None = None
    on_tick: Callable[[Tick], None] | None = None
    on_sample: Callable[[Path, int], None] | None = None
    on_progress: Callable[[float, int, float], None] | None = None
    on_decode: Callable[[int, int], None] | None = None
    on_note: Callable[[str], None] | None = None
    should_stop: Callable[[], bool] | None = None

    def note(self, text: str) -> None:
        """Say something that a person should read in the log."""
        if self.on_note is not None:
            self.on_note(text)
