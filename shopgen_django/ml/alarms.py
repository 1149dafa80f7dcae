"""When a run goes wrong: what is looked for, from which figures, and what is said. No networks here, only numbers.

An alarm stands in a tick's figures as ``alarm_NAME``: the pictures seen when it began. It leaves them when the figures
are sound again. When it had the best state put back, ``mended_NAME`` says at how many pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

PREFIX, MENDED = "alarm_", "mended_"

COLLAPSE_VARIETY = 0.2
"""Mean distance between made pictures, as a share of that between real ones, below which a generator has collapsed."""
COLLAPSE_COVERAGE, COLLAPSE_COVERED = 0.1, 0.2
"""The same for coverage, as a share of the best one so far; only once that was large enough to fall from."""
COLLAPSE_ARMED_BY = 0.3
"""Before its first steps every generator makes one picture: the alarm is armed once variety was above this ..."""
COLLAPSE_ARMED_AFTER = 20_000
"""... or after so many pictures."""
COLLAPSE_SNAPSHOTS = 2
WON_LOSS, WON_ACCURACY, WON_STEPS = 0.05, 0.99, 500
WON_LOSSES = frozenset({"rp", "ns", "minimax"})
"""Losses whose discriminator's loss says that it has won; others have no level (wgan-gp) or another one."""
OVERFIT, OVERFIT_ENDS, OVERFIT_TICKS = 0.6, 0.5, 3
MEMORISED = 0.5
DIVERGED_TIMES, DIVERGED_ERRORS, DIVERGED_SNAPSHOTS = 2.0, 3.0, 3

NAMES = ("collapse", "d_won", "d_overfit", "memorised", "diverged")

WORDS: dict[str, str] = {
    "collapse": "The generator makes nearly the same picture again and again, or none that is near any photo. The run "
    "goes back to its best state and on from there at half the learning rate.",
    "d_won": "The discriminator has won: it is right about every picture, and the generator learns nothing from it any "
    "more. The run goes back to its best state and on from there at half the learning rate.",
    "d_overfit": "The discriminator is learning its photos by heart. Augmentation gets stronger by itself; if this "
    "stays, more photos or an earlier model to begin with (--init) help most.",
    "memorised": "Made pictures lie much nearer to training photos than other photos do: the generator is copying. "
    "Such states are not taken for the best one; more photos or a shorter run help.",
    "diverged": "The pictures have become much worse than they were. The run goes back to its best state and on from "
    "there at half the learning rate.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a snapshot's pictures measure."""

    images_seen: int
    kid: float
    kid_error: float
    coverage: float
    variety: float
    """Mean distance between made pictures over that between real ones."""
    memory: float | None
    """Median distance to the nearest training photo over the yardstick's."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """Follows a run's figures and remembers what is wrong with it."""

    loss: str
    active: dict[str, int] = field(default_factory=dict)
    """Alarms that are on, and the pictures seen when they began."""
    mended: dict[str, int] = field(default_factory=dict)
    """Alarms that had the best state put back, and the pictures seen then."""
    best_kid: float | None = None
    best_error: float = 0.0
    best_at: int = 0
    best_coverage: float = 0.0
    armed: bool = False
    collapsed: int = 0
    diverged: int = 0
    won_since: int | None = None
    overfit_ticks: int = 0

    def figures(self) -> dict[str, float]:
        """The alarms as figures of a tick."""
        on = {PREFIX + name: float(seen) for name, seen in self.active.items()}
        return on | {MENDED + name: float(seen) for name, seen in self.mended.items()}

    def tick(self, values: Mapping[str, float], *, step: int, images_seen: int) -> None:
        """Take in a tick's averages (``loss_d``, ``accuracy_d``, ``overfit_d``, those there are)."""
        loss, right = values.get("loss_d"), values.get("accuracy_d")
        if self.loss in WON_LOSSES and loss is not None and right is not None:
            if loss < WON_LOSS and right >= WON_ACCURACY:
                self.won_since = step if self.won_since is None else self.won_since
            else:
                self.won_since = None
            self._set("d_won", self.won_since is not None and step - self.won_since >= WON_STEPS, images_seen)
        overfit = values.get("overfit_d")
        if overfit is not None:
            self.overfit_ticks = self.overfit_ticks + 1 if overfit > OVERFIT else 0
            on = self.overfit_ticks >= OVERFIT_TICKS or ("d_overfit" in self.active and overfit > OVERFIT_ENDS)
            self._set("d_overfit", on, images_seen)

    def snapshot(self, seen: Seen) -> bool:
        """Take in a snapshot's figures; whether it is the best so far."""
        self.armed = self.armed or seen.variety >= COLLAPSE_ARMED_BY or seen.images_seen >= COLLAPSE_ARMED_AFTER
        lost = self.best_coverage >= COLLAPSE_COVERED and seen.coverage < COLLAPSE_COVERAGE * self.best_coverage
        gone = lost or seen.variety < COLLAPSE_VARIETY
        self.collapsed = self.collapsed + 1 if self.armed and gone else 0
        self._set("collapse", self.collapsed > 0, seen.images_seen)
        self._set("memorised", seen.memory is not None and seen.memory < MEMORISED, seen.images_seen)
        worse = self.best_kid is not None and seen.kid > max(
            DIVERGED_TIMES * self.best_kid, self.best_kid + DIVERGED_ERRORS * (seen.kid_error + self.best_error)
        )
        self.diverged = self.diverged + 1 if worse else 0
        self._set("diverged", self.diverged >= DIVERGED_SNAPSHOTS, seen.images_seen)
        sound = not self.active.keys() & {"collapse", "memorised", "diverged", "d_won"}
        best = sound and (self.best_kid is None or seen.kid < self.best_kid)
        if best:
            self.best_kid, self.best_error, self.best_at = seen.kid, seen.kid_error, seen.images_seen
        if sound:
            self.best_coverage = max(self.best_coverage, seen.coverage)
        return best

    def wants_back(self) -> str:
        """The alarm for which the best state has to be put back; empty when it need not be."""
        if self.collapsed >= COLLAPSE_SNAPSHOTS:
            return "collapse"
        return next((name for name in ("diverged", "d_won") if name in self.active), "")

    def mend(self, name: str, images_seen: int) -> None:
        """Note that the best state is put back because of an alarm, and begin to count anew."""
        self.mended[name] = images_seen
        self.collapsed = self.diverged = self.overfit_ticks = 0
        self.won_since = None
        for other in ("collapse", "diverged", "d_won"):
            self.active.pop(other, None)

    def last_is_worse(self, last: Seen) -> bool:
        """Whether the best state is to be served instead of the last one.

        It is when the last one is copying or collapsed, or its KID is worse by more than twice the error of the two:
        of states that are alike the last one is taken, which was trained longest and is the same however often
        the run was looked at.
        """
        if self.best_kid is None or last.images_seen == self.best_at:
            return False
        if self.active.keys() & {"collapse", "memorised", "diverged", "d_won"}:
            return True
        return last.kid > self.best_kid + 2.0 * (last.kid_error**2 + self.best_error**2) ** 0.5

    def state(self) -> dict[str, Any]:
        """Plain values to go on with."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "loss"}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name in self.state().keys() & values.keys():
            setattr(self, name, dict(values[name]) if name in ("active", "mended") else values[name])

    def _set(self, name: str, on: bool, images_seen: int) -> None:
        if on:
            self.active.setdefault(name, images_seen)
        else:
            self.active.pop(name, None)


def alarms_in(values: Mapping[str, Any], prefix: str = PREFIX) -> dict[str, int]:
    """The alarms that a tick's figures hold (with :data:`MENDED`: those that were mended), and at how many pictures."""
    return {name: int(values[prefix + name]) for name in NAMES if isinstance(values.get(prefix + name), int | float)}
