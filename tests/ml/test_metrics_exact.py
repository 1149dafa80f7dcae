"""Distances against references that are not ours: closed forms, SciPy, prdc 0.2, torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from shopgen_django.ml.evaluation.similarity import ms_ssim, psnr, ssim
from shopgen_django.ml.metrics import (
    doubles,
    frechet_distance,
    frechet_is_fair,
    kid,
    kid_estimate,
    manifold,
    nearest,
    nearest_of_own,
    pair_distance,
)


def gaussian(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, (n, d))


def test_frechet_distance_of_shifted_normals_is_the_squared_shift() -> None:
    shift = np.linspace(0.2, 1.0, 16)
    real, fake = gaussian(50_000, 16, 1), gaussian(50_000, 16, 2) + shift
    assert frechet_distance(real, fake) == pytest.approx(float((shift**2).sum()), rel=0.02)


def test_frechet_distance_to_itself_is_nothing() -> None:
    real = gaussian(700, 64, 1) * np.linspace(0.01, 3.0, 64)
    assert abs(frechet_distance(real, real)) < 1e-3
    assert abs(frechet_distance(real[:20], real[:20])) < 1e-3  # a covariance that can't be inverted


def test_frechet_distance_equals_the_root_that_scipy_takes() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    mix = gaussian(24, 24, 3)
    real, fake = gaussian(300, 24, 1) @ mix, gaussian(400, 24, 2, mean=0.3, scale=0.8) @ mix
    one, other = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    shift = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    expected = shift + np.trace(one + other) - 2.0 * np.trace(linalg.sqrtm(one @ other).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_the_closed_form_of_given_variances() -> None:
    # Two dimensions, no correlation: |shift|^2 + sum (s1 - s2)^2. Whitened samples have exactly these moments.
    raw = gaussian(500, 2, 5)
    raw -= raw.mean(0)
    raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    assert frechet_distance(raw * [1.0, 2.0], raw * [3.0, 0.5] + [1.0, 2.0]) == pytest.approx(5.0 + 4.0 + 2.25)


@pytest.mark.parametrize(("n", "d", "expected"), [(100, 64, 12.1), (500, 64, 2.4), (500, 128, 8.8)])
def test_frechet_distance_has_its_known_bias(n: int, d: int, expected: float) -> None:
    """The distance of n draws to the distribution itself, which is 0, as published; two such sets double it."""
    draws, truth = gaussian(n, d, 1), gaussian(20_000, d, 3)
    assert frechet_distance(draws, truth) == pytest.approx(expected, rel=0.1)
    assert frechet_distance(draws, gaussian(n, d, 2)) > 1.4 * expected
    assert frechet_is_fair(d, n) is (n >= 10 * d)


def test_kid_estimate_is_kid_with_an_honest_error() -> None:
    """Over repeated draws the true value lies in the interval about as often as it says, or more often."""
    truth = np.mean([kid(gaussian(400, 8, i), gaussian(400, 8, 900 + i, mean=0.4)) for i in range(20)])
    inside = 0
    for index in range(40):
        real, fake = gaussian(100, 8, 2000 + index), gaussian(120, 8, 3000 + index, mean=0.4)
        found = kid_estimate(real, fake, halves=40)
        assert found.value == pytest.approx(kid(real, fake), rel=1e-9)
        inside += found.low <= truth <= found.high
    assert 34 <= inside <= 40


def test_kid_estimate_between_halves_of_one_set_has_zero_inside() -> None:
    found = [kid_estimate(gaussian(80, 16, 2 * i), gaussian(80, 16, 2 * i + 1), halves=40) for i in range(30)]
    assert sum(one.low <= 0.0 <= one.high for one in found) >= 28


def test_kid_equals_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.kid")
    import torch

    real, fake = gaussian(60, 12, 1), gaussian(60, 12, 2, mean=0.5)
    theirs = image.poly_mmd(torch.from_numpy(real), torch.from_numpy(fake))
    assert kid(real, fake) == pytest.approx(float(theirs), rel=1e-9)


def test_manifold_equals_prdc() -> None:
    """The expected numbers were computed once with ``prdc`` 0.2 on the same arrays."""
    rng = np.random.default_rng(7)
    found = manifold(rng.normal(0, 1, (40, 6)), rng.normal(0.4, 0.8, (30, 6)), neighbours=5)
    assert (found.precision, found.recall) == pytest.approx((0.9666666666666667, 0.85), abs=1e-12)
    assert (found.density, found.coverage) == pytest.approx((0.82, 0.775), abs=1e-12)
    found = manifold(rng.normal(0, 1, (200, 16)), rng.normal(0, 0.8, (150, 16)), neighbours=3)
    assert (found.precision, found.recall) == pytest.approx((0.98, 0.44), abs=1e-12)
    assert (found.density, found.coverage) == pytest.approx((2.3088888888888888, 0.95), abs=1e-12)


def test_manifold_of_the_known_cases() -> None:
    """Published behaviour at 2,000 against 2,000 in 64 dimensions, k = 5; within 0.05 each."""
    real = gaussian(2000, 64, 1)
    same = manifold(real, gaussian(2000, 64, 2))
    assert (same.precision, same.recall, same.coverage) == pytest.approx((0.74, 0.71, 0.97), abs=0.05)
    memorised = manifold(real, real[np.random.default_rng(0).integers(0, 200, 2000)])
    assert (memorised.precision, memorised.recall, memorised.coverage) == pytest.approx((1.0, 0.14, 0.47), abs=0.05)
    narrow = manifold(real, gaussian(2000, 64, 5, scale=0.7))
    assert (narrow.precision, narrow.recall, narrow.coverage) == pytest.approx((1.0, 0.0, 1.0), abs=0.05)


def test_neighbours_pairs_and_doubles() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.1]])
    index, distance = nearest(np.array([[0.0, 0.04]]), points)
    assert (int(index[0]), float(distance[0])) == (0, pytest.approx(0.04))
    assert nearest_of_own(points) == pytest.approx([0.1, np.hypot(3, 3.9), 0.1])
    assert pair_distance(points) == pytest.approx((5.0 + 0.1 + np.hypot(3, 3.9)) / 3)
    assert pair_distance(points[:1]) == 0.0
    found = doubles(points, closer_than=0.2)
    assert (found.pairs, found.support) == (1, 3.0)
    assert doubles(points, closer_than=0.01).support is None


def test_doubles_estimate_how_many_pictures_there_are() -> None:
    rng = np.random.default_rng(0)
    points = gaussian(300, 32, 1)[rng.integers(0, 300, 400)]
    assert doubles(points, closer_than=1e-3).support == pytest.approx(300, rel=0.25)


def test_psnr_is_exact() -> None:
    picture = np.random.default_rng(0).uniform(0.2, 0.8, (3, 32, 32))
    assert psnr(picture, picture + 0.1, data_range=1.0) == pytest.approx(20.0, abs=1e-9)
    assert psnr(picture * 255, (picture + 0.1) * 255, data_range=255) == pytest.approx(20.0, abs=1e-9)
    assert psnr(picture, picture, data_range=1.0) == float("inf")
    with pytest.raises(ValueError, match="one shape"):
        psnr(picture, picture[:2], data_range=1.0)
    with pytest.raises(ValueError, match="data_range"):
        psnr(picture, picture, data_range=0.0)


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 1, (3, 32, 32))
    assert ssim(picture, picture, data_range=1.0) == pytest.approx(1.0, abs=1e-12)
    values = [ssim(picture, picture + s * rng.normal(size=picture.shape), data_range=1.0) for s in (0.05, 0.2, 0.8)]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="11"):
        ssim(picture[:, :8], picture[:, :8], data_range=1.0)


def test_similarity_equals_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image")
    import torch

    rng = np.random.default_rng(0)
    one = rng.uniform(0, 255, (2, 3, 40, 48))
    other = np.clip(one + rng.normal(0, 20, one.shape), 0, 255)
    a, b = torch.from_numpy(one), torch.from_numpy(other)
    # torchmetrics also averages places whose window is partly a mirrored border; Wang et al. and we don't.
    _mean, places = image.structural_similarity_index_measure(a, b, data_range=255.0, return_full_image=True)
    assert ssim(one, other, data_range=255) == pytest.approx(float(places[..., 5:-5, 5:-5].mean()), abs=1e-9)
    assert psnr(one, other, data_range=255) == pytest.approx(
        float(image.peak_signal_noise_ratio(a, b, data_range=255.0)), abs=1e-6
    )
    large = rng.uniform(0, 1, (1, 1, 180, 180))
    assert ms_ssim(large, large, data_range=1.0) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ValueError, match="176"):
        ms_ssim(one, other, data_range=255)
