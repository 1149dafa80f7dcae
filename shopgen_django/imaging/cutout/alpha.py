"""From a rough belief to an alpha at full size, along the photo's own edges.

The belief of a finder has a few hundred pixels a side, the photo up to twelve thousand. Between them stands a guided
filter with a colour guide (He, Sun, Tang 2010, eq. 19), computed on a copy of at most :data:`WORK_SIDE` pixels and
applied at full size in strips (He and Sun 2015): alpha is locally a linear function of the photo's colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["WORK_SIDE", "full_alpha", "shrunk", "stretched", "strips"]

WORK_SIDE = 1024
"""Longest side, in pixels, at which the outline is computed."""

_STRIP_PIXELS = 1_000_000
_SMOOTH = 1e-4
_STEEP = (0.2, 0.8)
"""Alphas that become 0 and 1: the filter leaves a haze on both sides of an edge."""

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


def full_alpha(image: Image.Image, belief: FloatArray, check: Callable[[], None] | None = None) -> ByteArray:
    """Alpha (uint8, 0..255) of the size of ``image`` (RGB) from ``belief`` (float 0..1 of any size, same framing).

    Pixels farther from the belief's edge than its own resolution allows stay 0 or 255, whatever the guide says.
    ``check`` is called between strips and may raise.
    """
    import cv2

    work = shrunk(image, WORK_SIDE)
    high, wide = work.shape[:2]
    enlarged = cv2.resize(belief, (wide, high), interpolation=cv2.INTER_LINEAR)
    rough = np.asarray(np.clip(enlarged, 0.0, 1.0), np.float32)
    reach = max(2, round(max(high, wide) / max(belief.shape)) + 1)
    guide = work.astype(np.float32) / 255.0
    slope, offset = _coefficients(guide, rough, reach)
    solid, clear = _certain(rough, 2 * reach)
    if (image.height, image.width) == (high, wide):
        return _applied(guide, slope, offset, solid, clear)
    alpha = np.empty((image.height, image.width), np.uint8)
    for top, bottom in strips(image.size):
        if check is not None:
            check()
        part = np.asarray(image.crop((0, top, image.width, bottom)), np.float32) / 255.0
        fields = [stretched(field, image.size, top, bottom) for field in (slope, offset, solid, clear)]
        alpha[top:bottom] = _applied(part, *fields)
    return alpha


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(top, bottom) of horizontal parts of a picture of ``size`` (width, height) that fit in memory many times over."""
    width, height = size
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def shrunk(image: Image.Image, side: int) -> ByteArray:
    """``image`` (RGB) as (h, w, 3) uint8 with at most ``side`` pixels on the longer side, averaged, not enlarged."""
    import cv2

    factor = side / max(image.size)
    if factor >= 1:
        return np.array(image)
    size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
    whole = max(1, int(max(image.size) / side / 2))
    reduced = image.reduce(whole) if whole > 1 else image  # exact box average, in Pillow's own memory
    return np.asarray(cv2.resize(np.asarray(reduced), size, interpolation=cv2.INTER_AREA), np.uint8)


def _coefficients(guide: FloatArray, target: FloatArray, reach: int) -> tuple[FloatArray, FloatArray]:
    """``slope`` (h, w, 3) and ``offset`` (h, w): the local linear model ``target ~ slope . guide + offset``."""
    import cv2

    window = (2 * reach + 1, 2 * reach + 1)

    def mean(values: NDArray[np.floating]) -> FloatArray:
        return np.asarray(cv2.boxFilter(values, -1, window), np.float32)

    mean_guide, mean_target = mean(guide), mean(target)
    red, green, blue = (guide[..., channel] for channel in range(3))
    pairs = ((red, red), (red, green), (red, blue), (green, green), (green, blue), (blue, blue))
    index = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    rr, rg, rb, gg, gb, bb = (
        mean(a * b) - mean_guide[..., i] * mean_guide[..., j] for (a, b), (i, j) in zip(pairs, index, strict=True)
    )
    rr, gg, bb = rr + _SMOOTH, gg + _SMOOTH, bb + _SMOOTH
    cross = np.stack([mean(guide[..., c] * target) - mean_guide[..., c] * mean_target for c in range(3)], axis=-1)
    # The inverse of the symmetric 3 x 3 matrix by cofactors: one expression a plane instead of a solver a pixel.
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * c00 + rg * c01 + rb * c02
    x, y, z = cross[..., 0], cross[..., 1], cross[..., 2]
    slope = np.stack([c00 * x + c01 * y + c02 * z, c01 * x + c11 * y + c12 * z, c02 * x + c12 * y + c22 * z], axis=-1)
    slope /= determinant[..., None]
    offset = mean_target - (slope * mean_guide).sum(axis=-1)
    return mean(slope), mean(offset)


def _certain(rough: FloatArray, distance: int) -> tuple[FloatArray, FloatArray]:
    """1 where the belief is surely product / surely ground within ``distance`` pixels all around, else 0."""
    import cv2

    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    solid = cv2.erode((rough > 0.5).astype(np.uint8), kernel, borderValue=1) > 0
    clear = cv2.erode((rough <= 0.5).astype(np.uint8), kernel, borderValue=1) > 0
    # A part that the finder itself is unsure of is neither: gauze stays soft in its middle.
    return (solid & (rough > 0.9)).astype(np.float32), (clear & (rough < 0.1)).astype(np.float32)


def _applied(
    guide: FloatArray, slope: FloatArray, offset: FloatArray, solid: FloatArray, clear: FloatArray
) -> ByteArray:
    alpha = (guide * slope).sum(axis=-1) + offset
    low, high = _STEEP
    alpha = np.clip((alpha - low) / (high - low), 0.0, 1.0)
    alpha = np.where(solid > 0.5, 1.0, np.where(clear > 0.5, 0.0, alpha))
    return np.rint(alpha * 255.0).astype(np.uint8)


def stretched(field: FloatArray, size: tuple[int, int], top: int, bottom: int) -> FloatArray:
    """Rows ``top .. bottom`` of ``field`` enlarged to ``size`` (width, height), bilinear, pixel centres aligned."""
    import cv2

    width, height = size
    scale_x, scale_y = field.shape[1] / width, field.shape[0] / height
    move = np.array([[scale_x, 0.0, 0.5 * scale_x - 0.5], [0.0, scale_y, (top + 0.5) * scale_y - 0.5]], np.float32)
    return np.asarray(
        cv2.warpAffine(
            field,
            move,
            (width, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )
