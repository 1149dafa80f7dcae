"""The numbers of a private run: noise, sampling rate, steps; and what to expect from so many products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import CheckpointError, ConfigError

from .accounting import Ledger, affordable_steps, noise_for
from .units import Units

DEFAULT_DELTA = 1e-5
ENOUGH_UNITS = 10_000
"""Below this many units published methods give blobs, and so does this one."""
FEW_UNITS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settled before the first step and kept with the run's state; a resumed run doesn't choose anew.

    Attributes:
        epsilon: what may be spent.
        delta: probability with which the promise may fail.
        noise: standard deviation of the noise on the summed gradients, as a multiple of ``clip``.
        clip: largest length of a unit's gradient.
        sample_rate: probability with which a unit takes part in a step.
        steps: discriminator steps that the budget pays for, at most those that the length asks for.
        units, pictures: how many there are.
        named: whether the source said which photos belong to one product.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    sample_rate: float
    steps: int
    units: int
    pictures: int
    named: bool

    def ledger(self) -> Ledger:
        return Ledger(
            noise=self.noise,
            sample_rate=self.sample_rate,
            delta=self.delta,
            target=self.epsilon,
            allowed=self.steps,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan_from_dict(values: Mapping[str, Any]) -> Plan:
    """The inverse of :meth:`Plan.as_dict`.

    Raises:
        CheckpointError: not a plan.
    """
    try:
        return Plan(**values)
    except TypeError:
        raise CheckpointError("The saved state has no whole privacy plan; start over with --fresh.") from None


def default_delta(units: int) -> float:
    """1e-5, and for many units half of what would allow to publish one of them outright."""
    return min(DEFAULT_DELTA, 0.5 / units)


def make_plan(config: TrainConfig, units: Units) -> Plan:
    """Choose what the options left open. ``config`` has its batch size and length.

    Raises:
        ConfigError: numbers with which there is no guarantee or no training.
    """
    assert config.dp_epsilon is not None and config.batch_size is not None and config.images_seen is not None
    count = units.count
    batch = config.batch_size
    if 2 * batch > count:
        raise ConfigError(
            f"--batch-size {batch} is more than half of the {count} {units.word}; sampling would hide nobody. Use at "
            f"most {count // 2}."
        )
    delta = default_delta(count) if config.dp_delta is None else config.dp_delta
    if delta >= 1.0 / count:
        raise ConfigError(
            f"--dp-delta {delta:g} is not smaller than 1 / {count}: it would allow to publish one of the {count} "
            f"{units.word} outright. Use {default_delta(count):.1g} or less."
        )
    rate = batch / count
    wished = math.ceil(config.images_seen / batch)
    if config.dp_noise is None:
        noise, steps = noise_for(config.dp_epsilon, delta, rate, wished), wished
    else:
        noise = config.dp_noise
        steps = affordable_steps(config.dp_epsilon, delta, noise, rate, wished)
        if steps < 1:
            raise ConfigError(
                f"With --dp-noise {noise:g} the first step already costs more than --dp-epsilon {config.dp_epsilon:g}. "
                "Leave --dp-noise out, and it is chosen to fit."
            )
    return Plan(
        epsilon=config.dp_epsilon,
        delta=delta,
        noise=noise,
        clip=1.0 if config.dp_clip is None else config.dp_clip,
        sample_rate=rate,
        steps=steps,
        units=count,
        pictures=units.pictures,
        named=units.named,
    )


def plain_words(plan: Plan, parameters: int) -> list[str]:
    """What a person should know before such a run: the promise, what a unit is, whether it can work.

    ``parameters`` is the number of the discriminator's trained values: each gets its own noise.
    """
    batch = plan.sample_rate * plan.units
    word = "products" if plan.named else "files"
    lines = [
        f"private: epsilon at most {plan.epsilon:g} at delta {plan.delta:.2g} for each of {plan.units} {word}; "
        f"{plan.steps} steps with noise {plan.noise:.4g} x clip {plan.clip:g}, each of about {batch:.0f} {word}"
    ]
    if not plan.named:
        lines.append(
            "every file counts as a product of its own. If some show the same product, it is protected less: give a "
            "labels.csv with a column product"
        )
    # Against the sum of gradients that all have full length and one direction: the best that could be.
    times = plan.noise * math.sqrt(parameters) / batch
    if plan.units < FEW_UNITS:
        lines.append(
            f"{plan.units} {word} are far too few: in each step the noise is at least {times:.1f} times as strong as "
            "what the photos say. Expect blobs. Without --dp-epsilon the model would be usable; keep that one and its "
            "pictures in the house"
        )
    elif plan.units < ENOUGH_UNITS:
        lines.append(
            f"{plan.units} {word} are few (noise at least {times:.1f} times as strong as what the photos say): expect "
            f"blurred outlines. Private training begins to work at about {ENOUGH_UNITS:,} products"
        )
    return lines
