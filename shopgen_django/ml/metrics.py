"""How near generated pictures are to real ones, measured on feature vectors.

All functions take float arrays of shape ``(n, d)``: one feature vector a picture, from the same extractor on both
sides. Figures from unlike extractors, sizes or reference sets can't be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifold:
    """Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

    precision: float
    recall: float
    density: float
    coverage: float


def kid(real: Features, fake: Features) -> float:
    """Kernel Inception Distance: unbiased squared MMD with the kernel ``(x.y / d + 1)^3`` (Bińkowski et al. 2018).

    0 in expectation when both come from one distribution, so it may be slightly negative. Needs two pictures a side.

    Raises ``ValueError`` when the shapes don't fit.
    """
    real, fake = _pair(real, fake)
    if len(real) < 2 or len(fake) < 2:
        raise ValueError("KID needs at least two pictures on each side.")
    dimension = real.shape[1]

    def kernel(a: Features, b: Features) -> Features:
        return np.asarray((a @ b.T / dimension + 1.0) ** 3)

    real_real, fake_fake = kernel(real, real), kernel(fake, fake)
    within_real = (real_real.sum() - np.trace(real_real)) / (len(real) * (len(real) - 1))
    within_fake = (fake_fake.sum() - np.trace(fake_fake)) / (len(fake) * (len(fake) - 1))
    return float(within_real + within_fake - 2.0 * kernel(real, fake).mean())


def kid_interval(
    real: Features, fake: Features, *, subsets: int = 100, size: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of :func:`kid` over ``subsets`` random subsets of ``size`` pictures a side."""
    real, fake = _pair(real, fake)
    size = min(size, len(real), len(fake))
    random = np.random.default_rng(seed)
    values = [
        kid(
            real[random.choice(len(real), size, replace=False)],
            fake[random.choice(len(fake), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def manifold(real: Features, fake: Features, *, neighbours: int = 5) -> Manifold:
    """Precision, recall, density and coverage with balls that reach to the ``neighbours``-th nearest neighbour.

    Raises ``ValueError`` when a side has no more than ``neighbours`` pictures.
    """
    real, fake = _pair(real, fake)
    if min(len(real), len(fake)) <= neighbours:
        raise ValueError(f"At least {neighbours + 1} pictures a side are needed for {neighbours} neighbours.")
    between = _distances(real, fake)
    radius_real = _kth_distance(real, neighbours)
    radius_fake = _kth_distance(fake, neighbours)
    inside_real = between <= radius_real[:, None]
    return Manifold(
        precision=float(inside_real.any(axis=0).mean()),
        recall=float((between <= radius_fake[None, :]).any(axis=1).mean()),
        density=float(inside_real.sum() / (neighbours * len(fake))),
        coverage=float((between.min(axis=1) <= radius_real).mean()),
    )


def _pair(real: Features, fake: Features) -> tuple[Features, Features]:
    real, fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"Features must be (n, d) with one d; got {real.shape} and {fake.shape}.")
    return real, fake


def _distances(a: Features, b: Features) -> Features:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def _kth_distance(points: Features, neighbours: int) -> Features:
    distances = _distances(points, points)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1])
