"""How near generated pictures are to real ones, measured on feature vectors.

All functions take float arrays of shape ``(n, d)``: one feature vector a picture, from the same extractor on both
sides, and compute in float64. Figures from unlike extractors, sizes or reference sets can't be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
FID_PICTURES_PER_FEATURE = 10
"""Pictures a side and feature from which the Fréchet distance's bias is small beside what it measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kid:
    """KID of all pictures, its standard error, and the 95 % interval."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - 1.96 * self.error

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + 1.96 * self.error


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
    real, fake = _kid_pair(real, fake)
    real_real, fake_fake = _kernel(real, real), _kernel(fake, fake)
    within_real = (real_real.sum() - np.trace(real_real)) / (len(real) * (len(real) - 1))
    within_fake = (fake_fake.sum() - np.trace(fake_fake)) / (len(fake) * (len(fake) - 1))
    return float(within_real + within_fake - 2.0 * _kernel(real, fake).mean())


def kid_estimate(real: Features, fake: Features, *, halves: int = 100, seed: int = 0) -> Kid:
    """:func:`kid` with its standard error from ``halves`` random halves of each side (delete-half jackknife).

    The spread of an estimate over halves drawn without replacement is the standard error of the estimate from all
    (Shao and Wu 1989, d = n/2). Near 0, where the estimate is better than this assumes, the interval is too wide rather
    than too narrow. Needs four pictures a side; memory is 8 bytes times the square of the pictures.
    """
    real, fake = _kid_pair(real, fake)
    if min(len(real), len(fake)) < 4:
        raise ValueError("An interval needs at least four pictures on each side.")
    kernels = _kernel(real, real), _kernel(fake, fake), _kernel(real, fake)
    np.fill_diagonal(kernels[0], 0.0)
    np.fill_diagonal(kernels[1], 0.0)
    random = np.random.default_rng(seed)
    masks_real, masks_fake = _halves(random, len(real), halves), _halves(random, len(fake), halves)
    value = _kid_of(kernels, np.ones((1, len(real))), np.ones((1, len(fake))))[0]
    return Kid(value=float(value), error=float(np.std(_kid_of(kernels, masks_real, masks_fake), ddof=1)))


def _kid_of(kernels: tuple[Features, Features, Features], real: Features, fake: Features) -> Features:
    """KID of subsets: ``(k, n)`` masks of 0 and 1, kernels with an empty diagonal."""
    real_real, fake_fake, real_fake = kernels
    m, n = real.sum(1), fake.sum(1)
    within_real = ((real @ real_real) * real).sum(1) / (m * (m - 1))
    within_fake = ((fake @ fake_fake) * fake).sum(1) / (n * (n - 1))
    return np.asarray(within_real + within_fake - 2.0 * ((real @ real_fake) * fake).sum(1) / (m * n))


def _halves(random: np.random.Generator, count: int, halves: int) -> Features:
    masks = np.zeros((halves, count))
    for mask in masks:
        mask[random.choice(count, count // 2, replace=False)] = 1.0
    return masks


def _kernel(a: Features, b: Features) -> Features:
    return np.asarray((a @ b.T / a.shape[1] + 1.0) ** 3)


def _kid_pair(real: Features, fake: Features) -> tuple[Features, Features]:
    real, fake = _pair(real, fake)
    if len(real) < 2 or len(fake) < 2:
        raise ValueError("KID needs at least two pictures on each side.")
    return real, fake


def frechet_distance(real: Features, fake: Features) -> float:
    """Fréchet distance between the normal distributions fitted to both sides (FID when the features are Inception's).

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)`` (Heusel et al. 2017) with unbiased covariances. The root is
    taken of a symmetric matrix, whose eigenvalues are real and not negative, so there is no complex part to drop.

    Biased upwards, the more the fewer pictures: see :func:`frechet_is_fair`. Raises ``ValueError`` for fewer than two
    pictures a side.
    """
    real, fake = _kid_pair(real, fake)
    cov_real, cov_fake = np.atleast_2d(np.cov(real, rowvar=False)), np.atleast_2d(np.cov(fake, rowvar=False))
    values, vectors = np.linalg.eigh(cov_real)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    both = np.linalg.eigvalsh(root @ cov_fake @ root)
    shift = float(((real.mean(0) - fake.mean(0)) ** 2).sum())
    return shift + float(np.trace(cov_real) + np.trace(cov_fake) - 2.0 * np.sqrt(np.maximum(both, 0.0)).sum())


def frechet_is_fair(dimension: int, *counts: int) -> bool:
    """Whether each side has 10 pictures a feature: from there a Fréchet distance says more than its own bias."""
    return min(counts) >= FID_PICTURES_PER_FEATURE * dimension


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


def nearest(points: Features, among: Features) -> tuple[NDArray[np.int64], Features]:
    """For each point its nearest neighbour ``among`` the others: index and distance."""
    points, among = _pair(points, among)
    distances = _distances(points, among)
    found = distances.argmin(axis=1)
    return found, distances[np.arange(len(points)), found]


def nearest_of_own(points: Features) -> Features:
    """For each point the distance to its nearest neighbour within its own set."""
    return _kth_distance(np.asarray(points, dtype=np.float64), 1)


def pair_distance(points: Features) -> float:
    """Mean distance between two different points of a set; 0 for a set of one."""
    points = np.asarray(points, dtype=np.float64)
    if len(points) < 2:
        return 0.0
    return float(_distances(points, points).sum() / (len(points) * (len(points) - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubles:
    """Pairs of pictures that look the same, and the number of different pictures that this speaks for."""

    pairs: int
    closer_than: float
    support: float | None
    """Birthday paradox (Arora and Zhang 2017): ``n (n - 1) / (2 pairs)`` different pictures; None without a pair."""


def doubles(points: Features, *, closer_than: float) -> Doubles:
    """Count pairs nearer than a distance: how soon does a generator repeat itself?"""
    points = np.asarray(points, dtype=np.float64)
    count = len(points)
    pairs = int((_distances(points, points)[np.triu_indices(count, 1)] < closer_than).sum())
    return Doubles(
        pairs=pairs, closer_than=closer_than, support=count * (count - 1) / (2.0 * pairs) if pairs else None
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
