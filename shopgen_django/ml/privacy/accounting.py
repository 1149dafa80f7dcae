"""How much privacy a number of noised steps costs, and how much noise a budget needs.

A step is the Poisson-subsampled Gaussian mechanism: each privacy unit takes part with probability ``sample_rate``, its
gradient has at most the length C, and noise of standard deviation ``noise * C`` is added to the sum. Neighbouring data
sets differ in one unit that is there or not.

Two accountants of Opacus: ``prv`` (Gopi et al. 2021, numerical composition, tight; what runs are charged with) and
``rdp`` (Mironov 2017, quick and a little looser).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from shopgen_django.ml.errors import ConfigError

Charge = tuple[float, float, int]
"""(noise, sample rate, steps)."""

SEARCH_ROUNDS = 5
MOST_NOISE = 1_000.0


def require_opacus() -> Any:
    """The module ``opacus``.

    Raises:
        ConfigError: it isn't installed; the message names the extra.
    """
    try:
        import opacus
        import opacus.accountants
    except ImportError as error:
        raise ConfigError(
            f"Training with --dp-epsilon needs Opacus ({error}). Install it: pip install 'shopgen-django[privacy]'."
        ) from None
    return opacus


def epsilon(history: Sequence[Charge], delta: float, *, accountant: str = "prv", error: float = 0.01) -> float:
    """The smallest epsilon that the accountant can promise after these steps.

    Args:
        history: charges, in any order; empty means that nothing was spent.
        delta: probability with which the promise may fail.
        accountant: ``prv`` or ``rdp``.
        error: how exact ``prv`` computes; its answer is an upper bound that includes the error.
    """
    charges = tuple((float(noise), float(rate), int(steps)) for noise, rate, steps in history if steps)
    return _epsilon(charges, delta, accountant, error) if charges else 0.0


@lru_cache(maxsize=1_000)
def _epsilon(charges: tuple[Charge, ...], delta: float, accountant: str, error: float) -> float:
    accountants = require_opacus().accountants
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # "Optimal order is the largest alpha": a looser bound than possible, not a wrong one.
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        made = accountants.create_accountant(mechanism=accountant)
        made.history = list(charges)
        keywords = {"eps_error": error, "delta_error": delta / 1000} if accountant == "prv" else {}
        value = float(made.get_epsilon(delta=delta, **keywords))
    if accountant == "prv" and not math.isfinite(value):
        return _epsilon(charges, delta, "rdp", error)  # beyond what doubles can compose, some hundreds
    return value


def exactness(target: float) -> float:
    """The numerical error to compute with: half a percent of the budget, at least 0.01 (half of it is double work)."""
    return min(0.05, max(0.01, 0.005 * target))


def noise_for(target: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise with which ``steps`` steps cost no more than ``target`` and no less than 98.5 % of it.

    Raises:
        ConfigError: not even :data:`MOST_NOISE` is enough.
    """

    def quick(noise: float) -> float:
        return epsilon([(noise, sample_rate, steps)], delta, accountant="rdp")

    def exact(noise: float) -> float:
        return epsilon([(noise, sample_rate, steps)], delta, error=exactness(target))

    noise = _quickly(quick, target, steps, sample_rate)
    # The exact cost is a little below the quick one. Near a point it goes with a power of the noise, the same for both.
    power = math.log(quick(0.95 * noise) / quick(noise)) / -math.log(0.95)
    fitting = math.inf
    for _round in range(SEARCH_ROUNDS):
        noise = math.ceil(noise * 1e4) / 1e4
        cost = exact(noise)
        if cost <= target:
            fitting = min(fitting, noise)
            if cost >= 0.985 * target:
                break
        noise = noise * (cost / (0.994 * target)) ** (1.0 / power)
    while math.isinf(fitting):  # where numerical error outweighs the difference
        noise = math.ceil(1.02e4 * noise) / 1e4
        fitting = noise if exact(noise) <= target else math.inf
    return fitting


def _quickly(cost: Callable[[float], float], target: float, steps: int, sample_rate: float) -> float:
    """Noise whose cost is the target, to half a percent, by bisection on a log scale."""
    low, high = 0.1, 1.0
    while cost(high) > target:
        low, high = high, 2.0 * high
        if high > MOST_NOISE:
            raise ConfigError(
                f"No useful amount of noise gives epsilon {target:g} with {steps} steps at a sampling rate of "
                f"{sample_rate:.3g}. Use a larger --dp-epsilon, fewer --images-seen or a smaller --batch-size."
            )
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if cost(middle) <= target else (middle, high)
    return high


def affordable_steps(target: float, delta: float, noise: float, sample_rate: float, wished: int) -> int:
    """How many of ``wished`` steps a budget pays for, at least 97 % of what it would (0: not even one)."""

    def quick(steps: int) -> float:
        return epsilon([(noise, sample_rate, steps)], delta, accountant="rdp")

    def exact(steps: int) -> float:
        return epsilon([(noise, sample_rate, steps)], delta, error=exactness(target))

    # Far beyond the budget the exact answer takes long, and it is no less than a quarter of the quick one.
    if quick(wished) <= 4.0 * target and exact(wished) <= target:
        return wished
    if quick(1) > 4.0 * target:
        return 0
    low, high = 0, wished
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if quick(middle) <= target else (low, middle)
    # As in noise_for: a little more than the quick answer, found along a power of the number of steps.
    steps, fitting = max(1, low), 0
    power = max(0.3, math.log(quick(2 * steps) / quick(steps)) / math.log(2.0))
    for _round in range(SEARCH_ROUNDS):
        cost = exact(steps)
        if cost <= target:
            fitting = max(fitting, steps)
            if cost >= 0.985 * target:
                break
        following = min(wished - 1, int(steps * (0.994 * target / cost) ** (1.0 / power)))
        if following == steps or following < 1:
            break
        steps = following
    return fitting


class Ledger:
    """What a run has spent. Charged before a step's result is used, saved with every state.

    ``epsilon`` is computed for a number of steps at or a little above those taken, so that it is an upper bound, never
    falls, and costs little: the numerical accountant takes a second for long runs.
    """

    GRID = 20

    def __init__(self, *, noise: float, sample_rate: float, delta: float, target: float, allowed: int) -> None:
        self.noise, self.sample_rate, self.delta, self.target = noise, sample_rate, delta, target
        self.allowed = allowed
        self.steps = 0
        self._known: dict[int, float] = {0: 0.0}

    def charge(self) -> None:
        """Count one step.

        Raises:
            ConfigError: the budget doesn't pay for it.
        """
        if self.steps >= self.allowed:
            raise ConfigError(f"The privacy budget is spent after {self.allowed} steps; no further step is taken.")
        self.steps += 1

    @property
    def history(self) -> list[Charge]:
        """As Opacus' accountants keep it."""
        return [(self.noise, self.sample_rate, self.steps)] if self.steps else []

    @property
    def spent(self) -> bool:
        """Whether no further step may be taken."""
        return self.steps >= self.allowed

    def epsilon(self) -> float:
        """An upper bound of what the steps taken have cost, at most 5 % of the allowed steps ahead of them."""
        cell = max(1, self.allowed // self.GRID)
        steps = min(self.allowed, -(-self.steps // cell) * cell)
        if steps not in self._known:
            history = [(self.noise, self.sample_rate, steps)]
            value = epsilon(history, self.delta, error=exactness(self.target))
            below = max(v for s, v in self._known.items() if s < steps)
            self._known[steps] = max(value, below)
        return self._known[steps]
