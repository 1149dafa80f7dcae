"""Damage found without being shown: thin bright or dark lines, and specks on plain ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_SIDE = 2048
_LIMIT = 45.0
_LONG, _SHARE_LONG = 20, 0.09
"""Length that a line needs to count as a scratch: in pixels, and as a share of the shorter side."""
_THICK = 4.5
_MOST_LINES = 8
"""More lines than this are a pattern of the product."""
_PLAIN = 6.0
_SPECK = 9
"""Largest side of a speck of dust."""
_MOST_SPECKS = 60
"""More specks than this are a pattern."""


def find_damage(picture: Image.Image, *, scratches: bool = True, dust: bool = True) -> Image.Image:
    """Mask (``L``, 255 = damage) of ``picture``'s size.

    Scratches are thin parts that differ strongly from the median around them, long and narrow; what repeats in the
    same direction nearby (stripes, seams, a zip) is left. Dust are small specks where the ground is plain. Neither can
    tell print from damage, so a person looks at the mask first.
    """
    import cv2

    small = picture.convert("RGB")
    factor = min(1.0, MOST_SIDE / max(small.size))
    if factor < 1.0:
        small = small.resize((max(8, round(small.width * factor)), max(8, round(small.height * factor))))
    array = np.asarray(small, dtype=np.uint8)
    median = cv2.medianBlur(array, 9)
    residue = np.abs(array.astype(np.int16) - median).max(axis=2).astype(np.float32)
    found = np.zeros(residue.shape, dtype=bool)
    if scratches:
        found |= _lines(residue)
    if dust:
        found |= _specks(array, residue)
    mask = Image.fromarray((found * 255).astype(np.uint8))
    return mask.resize(picture.size, Image.Resampling.NEAREST) if mask.size != picture.size else mask


def _lines(residue: NDArray[np.float32]) -> NDArray[np.bool_]:
    import cv2

    strong = cv2.morphologyEx((residue > _LIMIT).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _centres = cv2.connectedComponentsWithStats(strong, connectivity=8)
    found = np.zeros(residue.shape, dtype=bool)
    least = max(_LONG, _SHARE_LONG * min(residue.shape))
    long_ones = []
    for number in range(1, count):
        left, top, width, height, area = stats[number]
        length = float(np.hypot(width, height))
        if length >= least and area <= _THICK * length:
            long_ones.append((number, left, top, width, height, length))
    if len(long_ones) > _MOST_LINES:
        return found
    # Parallel lines close together are a pattern as well.
    for number, left, top, width, height, length in long_ones:
        like = sum(_alike((left, top, width, height, length), each[1:]) for each in long_ones if each[0] != number)
        if like < 3:
            part = labels[top : top + height, left : left + width] == number
            found[top : top + height, left : left + width] |= part
    return found


def _alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two lines (left, top, width, height, length) lie near each other, alike in direction and length."""
    (left, top, width, height, length), (x, y, w, h, long) = one, other
    near = max(abs((x + w / 2) - (left + width / 2)), abs((y + h / 2) - (top + height / 2))) < 60
    return near and (w >= h) == (width >= height) and 0.5 < long / length < 2.0


def _specks(array: NDArray[np.uint8], residue: NDArray[np.float32]) -> NDArray[np.bool_]:
    import cv2

    luma = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)
    # The inner median is wider than any speck, so that specks don't make their own ground rough.
    inner, wide = (cv2.medianBlur(luma, side).astype(np.float32) for side in (2 * _SPECK + 1, 31))
    rough = np.sqrt(cv2.blur(np.square(inner - wide), (31, 31)))
    spots = ((residue > 0.5 * _LIMIT) & _ground(rough < _PLAIN)).astype(np.uint8)
    count, labels, stats, _centres = cv2.connectedComponentsWithStats(spots, connectivity=8)
    keep = np.zeros(count, dtype=bool)
    for number in range(1, count):
        keep[number] = max(stats[number][2], stats[number][3]) <= _SPECK and stats[number][4] >= 2
    return np.asarray(keep[labels]) if keep.sum() <= _MOST_SPECKS else np.zeros(labels.shape, dtype=bool)


def _ground(plain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The plain parts that reach the picture's edge: a plain product with beads on it is not among them."""
    import cv2

    _count, labels = cv2.connectedComponents(plain.astype(np.uint8), connectivity=4)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.asarray(plain & np.isin(labels, np.setdiff1d(edge, [0])))
