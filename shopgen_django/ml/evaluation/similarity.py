"""How like two pictures of the same thing are: for denoisers and other nets that are given a picture to improve.

Not for generators from noise, which have no right answer to compare with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shopgen_django.ml.errors import MissingExtra

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
MS_SSIM_SIDE = 176
"""Below this side the coarsest of the five scales has no room for the window."""

Array = NDArray[np.float64]


def psnr(one: ArrayLike, other: ArrayLike, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(data_range^2 / mean squared difference)``; infinite when equal.

    Args:
        one, other: arrays of one shape.
        data_range: largest possible difference, e.g. 255 for 8 bit, 2 for -1..1. There is no default: a wrong guess
            is worth up to 48 dB.

    Raises:
        ValueError: shapes differ or the range isn't positive.
    """
    a, b = _pair(one, other, data_range)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(data_range**2 / error))


def ssim(one: ArrayLike, other: ArrayLike, *, data_range: float) -> float:
    """Structural similarity (Wang et al. 2004): 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, in -1..1.

    The mean over all channels and all places where the whole window lies within the picture.

    Args:
        one, other: ``(h, w)`` or ``(..., h, w)``, sides of at least 11.
        data_range: as for :func:`psnr`.

    Raises:
        ValueError: shapes differ, the range isn't positive, or a side is under 11.
    """
    a, b = _pair(one, other, data_range)
    if a.ndim < 2 or min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels; got {a.shape[-2:]}.")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    both = _window(a * b) - mean_a * mean_b
    top = (2.0 * mean_a * mean_b + c1) * (2.0 * both + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def ms_ssim(one: ArrayLike, other: ArrayLike, *, data_range: float) -> float:
    """Multi-scale structural similarity (Wang et al. 2003) by torchmetrics, ``(n, c, h, w)``, sides of at least 176.

    Raises:
        MissingExtra: torchmetrics is not installed.
        ValueError: as for :func:`ssim`.
    """
    a, b = _pair(one, other, data_range)
    if a.ndim != 4 or min(a.shape[-2:]) < MS_SSIM_SIDE:
        raise ValueError(f"MS-SSIM needs (n, c, h, w) with sides of at least {MS_SSIM_SIDE}; got {a.shape}.")
    try:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure
    except ImportError:
        raise MissingExtra("MS-SSIM needs torchmetrics: pip install 'shopgen-django[evaluation]'.") from None
    import torch

    return float(measure(torch.from_numpy(a), torch.from_numpy(b), data_range=data_range))


def _pair(one: ArrayLike, other: ArrayLike, data_range: float) -> tuple[Array, Array]:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"Pictures to compare must have one shape; got {a.shape} and {b.shape}.")
    if not data_range > 0:
        raise ValueError("data_range must be the largest possible difference, above 0.")
    return a, b


def _window(values: Array) -> Array:
    """Gaussian mean over each window that lies within the picture."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    rows = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=-2) @ weights
    return np.asarray(np.lib.stride_tricks.sliding_window_view(rows, WINDOW, axis=-1) @ weights)
