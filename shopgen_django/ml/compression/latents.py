"""Random vectors for a picture without PyTorch: the numbers that PyTorch itself would draw for the same seed.

A compressed model must draw the same product for a seed as its teacher, or a shop that switches gets other pictures.
PyTorch's CPU generator is a Mersenne Twister (Matsumoto and Nishimura 1998), which NumPy has as well; how numbers are
made from its bits is repeated here: 24 bits for a uniform number, Box and Muller (1958) for normal ones, sixteen at a
time from sixteen numbers on, else in double precision two at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.positions import derive

BLOCK = 16
MAX_LATENT = 65_536

Floats = NDArray[np.float32]


class Numbers:
    """The stream of numbers of one seed, equal to a CPU ``torch.Generator`` with that seed to the last bits of float32.

    (Logarithm and cosine of the two libraries may differ in the last place.)
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937(0)
        # RandomState seeds the twister as PyTorch does; the newer interface has only a seeding of its own.
        state: Any = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
        self._bits.state = state
        self._spare: float | None = None

    def below(self, limit: int) -> int:
        """One whole number in ``0 .. limit - 1``; ``limit`` at most 2**28."""
        return int(self._bits.random_raw()) % limit

    def uniform(self, count: int) -> Floats:
        """``(count,)`` numbers in 0..1 (1 excluded)."""
        raw = np.asarray(self._bits.random_raw(count), dtype=np.uint32)
        return (raw & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)

    def normal(self, count: int) -> Floats:
        """``(count,)`` standard normal numbers."""
        if count < BLOCK:
            return np.array([self._one_normal() for _ in range(count)], dtype=np.float32)
        values = self.uniform(count)
        for start in range(0, count - BLOCK + 1, BLOCK):
            values[start : start + BLOCK] = _box_muller(values[start : start + BLOCK])
        if count % BLOCK:
            values[-BLOCK:] = _box_muller(self.uniform(BLOCK))
        return values

    def _one_normal(self) -> float:
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        angle, length = self._double(), self._double()
        radius = math.sqrt(-2.0 * math.log1p(-length))
        self._spare = radius * math.sin(2.0 * math.pi * angle)
        return radius * math.cos(2.0 * math.pi * angle)

    def _double(self) -> float:
        high, low = (int(value) for value in self._bits.random_raw(2))
        return float(((high << 32) | low) & ((1 << 53) - 1)) * 2.0**-53


def _box_muller(uniform: Floats) -> Floats:
    half = BLOCK // 2
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - uniform[:half]))
    angle = np.float32(2.0 * math.pi) * uniform[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """How vectors are made from the codes of photos (see ``ModernGenerator.draw``, which does the same)."""

    codes: Floats
    """``(n, components)``."""
    labels: NDArray[np.int64]
    """``(n,)``: each photo's category."""
    by_category: bool
    neighbours: int
    looks: int
    spread: float
    reach: float

    def __call__(self, vector: Floats, label: int, numbers: Numbers, truncation: float) -> None:
        """Replace the first numbers of ``vector`` by a blend of two like photos' codes, and a little noise."""
        which = numbers.uniform(2)
        share = np.float32(self.reach) * numbers.uniform(1)[0]
        mine = self.codes[self.labels == label] if self.by_category else self.codes
        if not len(mine):
            return
        first = int(which[0] * np.float32(len(mine)))
        distance = ((mine - mine[first])[:, : self.looks] ** 2).sum(axis=1)
        near = distance.argsort(kind="stable")[: self.neighbours + 1]
        second = int(near[int(which[1] * np.float32(len(near)))])
        blend = mine[first] * (np.float32(1.0) - share) + mine[second] * share
        length = self.codes.shape[1]
        vector[:length] = np.float32(truncation) * blend + np.float32(self.spread) * vector[:length]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentRule:
    """All that is needed to draw the random vector of a picture: its length, and the blend where there is one."""

    latent: int
    blend: Blend | None = None

    def draw(
        self, *, seed: int, index: int, categories: int, label: int | None, truncation: float
    ) -> tuple[Floats, int]:
        """``(latent,)`` numbers and the category of picture ``index`` of a seed; the category is drawn when None."""
        numbers = Numbers(derive(seed, "sample", index))
        drawn = numbers.below(max(1, categories))
        chosen = drawn if label is None else label
        vector = numbers.normal(self.latent) * np.float32(truncation)
        if self.blend is not None:
            self.blend(vector, chosen, numbers, truncation)
        return vector, chosen


def rule_from(description: Mapping[str, Any], codes: Floats | None, labels: NDArray[np.int64] | None) -> LatentRule:
    """The rule that a model's description names.

    Raises:
        ModelFileError: an unknown kind, or values out of their range.
    """
    try:
        kind, latent = description["kind"], int(description["latent"])
        if not 1 <= latent <= MAX_LATENT:
            raise ValueError(f"a vector of {latent} numbers")
        if kind == "normal":
            return LatentRule(latent=latent)
        if kind != "blend" or codes is None or labels is None:
            raise ValueError(f"the kind {kind!r}")
        if codes.ndim != 2 or labels.shape != codes.shape[:1] or not 1 <= codes.shape[1] <= latent or not len(codes):
            raise ValueError(f"codes of shape {codes.shape}")
        if not np.isfinite(codes).all():
            raise ValueError("codes that are not finite numbers")
        blend = Blend(
            codes=codes.astype(np.float32),
            labels=labels.astype(np.int64),
            by_category=bool(description["by_category"]),
            neighbours=max(0, int(description["neighbours"])),
            looks=max(1, int(description["looks"])),
            spread=float(description["spread"]),
            reach=float(description["reach"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"The model's description of its random vectors can't be followed: {error}.") from None
    return LatentRule(latent=latent, blend=blend)
