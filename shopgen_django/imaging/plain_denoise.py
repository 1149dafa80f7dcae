"""Noise told and taken out without a network: wavelets and a bilateral filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .cutout.alpha import strips

__all__ = ["estimate_sigma", "looks_drawn", "smooth"]

_TO_SIGMA = 1.0 / 0.6745
_REACH = 4
_DRAWN = 0.8
_SPREAD = 3.5
"""Width of the filter in brightness, in standard deviations of the noise (3.5 to 5 were best on studio photos)."""


def estimate_sigma(picture: Image.Image) -> float:
    """Standard deviation of white noise, 0..255: the median of the finest diagonal Haar coefficients of each colour
    (Donoho and Johnstone 1994), the mean over the colours. Correlated noise, as in JPEGs, is told as less than it is.
    """
    array = np.asarray(picture.convert("RGB") if picture.mode != "L" else picture, dtype=np.uint8)
    array = array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]
    if array.size == 0:
        return 0.0
    planes = array[..., None] if array.ndim == 2 else array
    found = []
    for channel in range(planes.shape[2]):
        one = planes[..., channel].astype(np.int16)
        diagonal = (one[::2, ::2] - one[1::2, ::2] - one[::2, 1::2] + one[1::2, 1::2]) / 2.0
        inside = (one[::2, ::2] > 2) & (one[::2, ::2] < 253)  # clipped places have lost their noise
        values = np.abs(diagonal[inside]) if inside.sum() > 16 else np.abs(diagonal)
        found.append(float(np.median(values)) * _TO_SIGMA)
    return float(np.mean(found))


def looks_drawn(picture: Image.Image) -> bool:
    """Whether most neighbours are equal to the last bit: graphics and plain areas, where no camera's noise can be."""
    grey = np.asarray(picture.convert("L"), dtype=np.uint8)
    if grey.shape[1] < 2:
        return True
    return bool((grey[:, 1:] == grey[:, :-1]).mean() > _DRAWN)


def smooth(picture: Image.Image, sigma: float, *, check: Callable[[float], object] | None = None) -> Image.Image:
    """``picture`` (``L``, ``RGB``, ``RGBA``) through a bilateral filter for noise of ``sigma`` (0..255), in strips.

    ``check`` is called with the share that is done. Transparency is kept.
    """
    import cv2

    base = picture.convert("RGB") if picture.mode == "RGBA" else picture
    array = np.asarray(base, dtype=np.uint8)
    made: NDArray[np.uint8] = np.empty_like(array)
    height = array.shape[0]
    for top, bottom in strips(base.size):
        above, below = max(0, top - _REACH), min(height, bottom + _REACH)
        part = cv2.bilateralFilter(np.ascontiguousarray(array[above:below]), 2 * _REACH + 1, _SPREAD * sigma, 2.0)
        made[top:bottom] = part[top - above : bottom - above]
        if check is not None:
            check(bottom / height)
    result = Image.fromarray(made)
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A"))
    return result
