"""Watchers of a run: they add figures, stop it with a reason, or have its best snapshot put back.

Monitors live in process 0 only. The loop calls them between steps, never within one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .data import Pictures
from .recipe import Recipe
from .run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a monitor makes of a snapshot."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """Kept in every tick until the next snapshot gives new ones."""
    best: bool = False
    """The best state so far: a copy of it is kept."""
    roll_back: str = ""
    """Why the best state (the last one when none was called best) has to be put back; empty when not."""


class Monitor:
    """Does nothing; monitors override what they need.

    :meth:`on_tick` and :meth:`on_snapshot` may raise an :class:`~.errors.MLError`: the run ends with it, and the states
    saved before stay.
    """

    name = ""
    """Names its values in the saved state; a monitor without a name has none."""

    def on_tick(self, run: Run, values: Mapping[str, float]) -> Mapping[str, float]:
        """Look at a tick's figures; returns those to add."""
        return {}

    def on_snapshot(self, run: Run) -> Advice:
        """Look at a run that is about to be saved."""
        return Advice()

    def on_end(self, run: Run) -> str:
        """The run is over and saved. Returns what to tell the person, or nothing."""
        return ""

    def describe(self) -> dict[str, Any]:
        """Plain values for the model's card: what the figures can only be compared within."""
        return {}

    def state(self) -> dict[str, Any]:
        """Plain values (JSON) to go on with after a pause."""
        return {}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`; not called when the saved state knows nothing of this monitor."""


def make_monitors(recipe: Recipe, pictures: Pictures) -> list[Monitor]:
    """The monitors of a run, in the order in which they are asked.

    Raises:
        ConfigError: ``--metrics`` names a figure that there isn't.
    """
    config = recipe.config
    judged: list[Monitor] = []
    if can_be_judged(recipe):
        from .judge import Judge, chosen_figures

        figures = chosen_figures(config.metrics, len(pictures.trained_on))
        judged = [Judge(loss=str(config.loss), figures=figures)]
    if config.dp_epsilon is None:
        return judged
    from .privacy.session import FiguresOnly, PrivacyMonitor

    # Others compare with photos, and what they find is outside of what privacy promises.
    return [PrivacyMonitor(), *(map(FiguresOnly, judged) if config.unsafe_metrics else ())]


def can_be_judged(recipe: Recipe) -> bool:
    """Whether the family makes pictures from random vectors, so that there is something to compare with photos."""
    meta = next(f.metadata for f in fields(recipe.config) if f.name == "metrics")
    return recipe.family.name in meta["families"]
