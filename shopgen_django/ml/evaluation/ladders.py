"""Ladders: real pictures spoilt more and more, so that a distance can be read as an amount of something one knows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml.metrics import Features, frechet_distance, kid

from .results import Rung

BLURS = (0.5, 1.0, 2.0, 3.0)
NOISES = (0.02, 0.05, 0.1, 0.2)
AT_SIDE = 64
Extract = Callable[[NDArray[np.uint8]], Features]


def blurred(pictures: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Gaussian blur; ``sigma`` in pixels of a picture of 64 px, so that it means the same at any size."""
    scaled = sigma * pictures.shape[-1] / AT_SIDE
    reach = max(1, int(np.ceil(3 * scaled)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scaled) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    padded = np.pad(pictures.astype(np.float32), ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=2) @ weights
    both = np.lib.stride_tricks.sliding_window_view(rows, 2 * reach + 1, axis=3) @ weights
    return np.clip(np.rint(both), 0, 255).astype(np.uint8)


def noisy(pictures: NDArray[np.uint8], amount: float, *, seed: int = 0) -> NDArray[np.uint8]:
    """Normal noise, its standard deviation a share of the way from black to white."""
    noise = np.random.default_rng(seed).normal(0.0, 255.0 * amount, pictures.shape)
    return np.clip(np.rint(pictures + noise), 0, 255).astype(np.uint8)


def climb(
    one: Features, other: NDArray[np.uint8], labels: NDArray[np.int64] | None, extract: Extract
) -> tuple[Rung, ...]:
    """Distances of spoilt real pictures to other real ones, in the order of ladders and amounts.

    Args:
        one: features of untouched real pictures.
        other: real pictures that are not among them.
        labels: their categories; None leaves out the ladder that drops half of the categories.
        extract: pictures to features.
    """
    whole = extract(other)
    rungs = [_rung("blur", 0.0, one, whole), _rung("noise", 0.0, one, whole)]
    rungs += [_rung("blur", sigma, one, extract(blurred(other, sigma))) for sigma in BLURS]
    rungs += [_rung("noise", amount, one, extract(noisy(other, amount))) for amount in NOISES]
    if labels is not None and len(np.unique(labels)) > 1:
        present = np.unique(labels)
        kept = np.isin(labels, present[: max(1, len(present) // 2)])
        if kept.sum() > 2:
            rungs.append(_rung("categories", 0.5, one, whole[kept]))
    return tuple(sorted(rungs, key=lambda rung: (rung.ladder, rung.amount)))


def read_off(rungs: tuple[Rung, ...], ladder: str, distance: float) -> float | None:
    """The amount at which a ladder has this KID, between its rungs; None beyond its ends."""
    steps = [(rung.kid, rung.amount) for rung in rungs if rung.ladder == ladder]
    for (low, start), (high, end) in pairwise(steps):
        if low <= distance <= high and high > low:
            return start + (end - start) * (distance - low) / (high - low)
    return 0.0 if steps and distance < steps[0][0] else None


def _rung(ladder: str, amount: float, one: Features, other: Features) -> Rung:
    return Rung(ladder=ladder, amount=amount, kid=kid(one, other), fid=frechet_distance(one, other))
