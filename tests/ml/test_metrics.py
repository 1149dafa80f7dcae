"""The figures behave as their definitions say, on distributions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from shopgen_django.ml.metrics import kid, kid_interval, manifold


def gaussian(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, (n, d))


def test_kid_equals_the_double_sum_of_its_definition() -> None:
    real, fake = gaussian(7, 3, 1), gaussian(5, 3, 2, mean=0.5)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within_real = np.mean([kernel(real[i], real[j]) for i in range(7) for j in range(7) if i != j])
    within_fake = np.mean([kernel(fake[i], fake[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([kernel(a, b) for a in real for b in fake])
    assert kid(real, fake) == pytest.approx(within_real + within_fake - 2 * across, rel=1e-12)


def test_kid_is_unbiased_between_halves_of_one_distribution() -> None:
    values = [kid(gaussian(100, 16, 2 * i), gaussian(100, 16, 2 * i + 1)) for i in range(50)]
    assert abs(np.mean(values)) < 2 * np.std(values) / np.sqrt(50)
    assert min(values) < 0 < max(values)


def test_kid_grows_with_the_shift() -> None:
    real = gaussian(300, 16, 1)
    values = [kid(real, gaussian(300, 16, 2, mean=mean)) for mean in (0.0, 0.3, 0.6, 1.2)]
    assert values == sorted(values)
    mean, spread = kid_interval(real, gaussian(300, 16, 2, mean=1.2))
    assert mean == pytest.approx(values[-1], rel=0.1)
    assert spread > 0


def test_manifold_of_one_distribution_and_of_a_collapse() -> None:
    real = gaussian(1000, 64, 1)
    same = manifold(real, gaussian(1000, 64, 2))
    assert same.coverage > 0.9
    assert same.density == pytest.approx(1.0, abs=0.15)
    ten_points = gaussian(10, 64, 3)[np.random.default_rng(0).integers(0, 10, 1000)]
    collapsed = manifold(real, ten_points + gaussian(1000, 64, 4, scale=1e-6))
    assert collapsed.recall == 0.0
    assert collapsed.coverage < 0.1
    narrow = manifold(real, gaussian(1000, 64, 5, scale=0.7))
    assert narrow.precision > 0.99
    assert narrow.recall < 0.05


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="one d"):
        kid(gaussian(5, 3, 1), gaussian(5, 4, 1))
    with pytest.raises(ValueError, match="two pictures"):
        kid(gaussian(1, 3, 1), gaussian(5, 3, 1))
    with pytest.raises(ValueError, match="neighbours"):
        manifold(gaussian(5, 3, 1), gaussian(50, 3, 1))
