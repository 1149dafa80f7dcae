"""Pictures enlarged without a network, where letters are, and transparency that is enlarged without a rim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["bled", "letters", "plain_double", "with_alpha"]

FloatArray = NDArray[np.float32]
_STROKE = 24
"""Side of the neighbourhood in which strokes are counted, in pixels."""
_STEEP = 40.0
_STRIP = 256
"""Rows of the smaller picture that are worked on at a time."""


def letters(array: NDArray[np.uint8]) -> FloatArray:
    """``(h, w)`` 0..1: where small print may be. There nothing should be sharpened into another letter.

    Print has many steep edges close together, and little between its two brightnesses. Woven cloth and stripes look
    alike and are treated as carefully, which costs a little sharpness and never a letter.
    """
    import cv2

    luma = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY).astype(np.float32)
    steep = np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=0.25))
    box = (_STROKE, _STROKE)
    density = cv2.blur((steep > _STEEP).astype(np.float32), box)
    mean = cv2.blur(luma, box)
    spread = np.sqrt(np.maximum(cv2.blur(np.square(luma), box) - np.square(mean), 0.0))
    # Two brightnesses only: most pixels lie about one spread from the mean, on either side.
    between = cv2.blur((np.abs(luma - mean) < 0.4 * spread).astype(np.float32), box)
    found = (density > 0.12) & (spread > 25.0) & (between < 0.5)
    wide = cv2.dilate(found.astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.asarray(cv2.blur(wide.astype(np.float32), (9, 9)), dtype=np.float32)


def plain_double(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(h, w, 3)`` twice as large: Lanczos, then corrected twice so that it shrinks to what it came from."""
    import cv2

    size = (2 * array.shape[1], 2 * array.shape[0])
    small = array.astype(np.float32)
    large = cv2.resize(small, size, interpolation=cv2.INTER_LANCZOS4)
    for _round in range(2):
        shrunk = cv2.resize(large, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        large = large + cv2.resize(small - shrunk, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(np.rint(large), 0, 255), dtype=np.uint8)


def shrunk_to(array: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``(h, w, 3)`` at ``size`` (width, height), each pixel the mean of those that it covers."""
    import cv2

    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def within_neighbours(
    made: NDArray[np.uint8], array: NDArray[np.uint8], mask: FloatArray
) -> NDArray[np.uint8]:
    """``made`` (an enlarged ``array``), where ``mask`` (0..1, of the size of ``array``) is 1 nowhere brighter or darker
    than the photo's pixels around it: no stroke is made up there and none is drawn over."""
    import cv2

    square, (high, wide) = np.ones((3, 3), np.uint8), array.shape[:2]
    factor = made.shape[0] // high
    least, most = cv2.erode(array, square), cv2.dilate(array, square)
    result = np.empty_like(made)
    for top in range(0, high, _STRIP):  # the numbers of a large picture at once would take gigabytes
        bottom = min(high, top + _STRIP)
        above, below = max(0, top - 1), min(high, bottom + 1)
        size = (factor * wide, factor * (below - above))
        inner = slice(factor * (top - above), factor * (bottom - above))
        low, up, weight = (
            cv2.resize(part[above:below], size, interpolation=cv2.INTER_LINEAR)[inner] for part in (least, most, mask)
        )
        part = made[factor * top : factor * bottom]
        kept = np.clip(part, low, up).astype(np.float32)
        result[factor * top : factor * bottom] = np.rint(part + weight[..., None] * (kept - part))
    return result


def with_alpha(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Enlarged colours under an enlarged alpha. ``colours`` have been bled under clear pixels (:func:`bled`)."""
    result = colours.copy()
    result.putalpha(alpha.resize(colours.size, Image.Resampling.BICUBIC))
    return result


def bled(picture: Image.Image, reach: int = 8) -> Image.Image:
    """``RGB`` of a transparent picture, the colours of its rim spread ``reach`` pixels under what is clear.

    What editors leave under clear pixels (black, the old ground) would shine through the rim of an enlargement.
    """
    import cv2

    array = np.asarray(picture.convert("RGBA"), dtype=np.float32)
    weight = array[..., 3:] / 255.0
    side = (2 * reach + 1, 2 * reach + 1)
    total = cv2.blur(array[..., :3] * weight, side)
    share = cv2.blur(weight[..., 0], side)[..., None]
    around = total / np.maximum(share, 1e-4)
    colours = np.where(weight > 0, array[..., :3], np.where(share > 1e-4, around, 255.0))
    return Image.fromarray(np.asarray(np.clip(np.rint(colours), 0, 255), dtype=np.uint8))
