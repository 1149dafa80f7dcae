"""A network asked about three views of one picture: as it is, mirrored, and not stretched to the network's shape.

What it says of all three is steadier than of one, and where the three differ it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .classical import iou

__all__ = ["look"]

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


def look(
    rgb: ByteArray, finder: Callable[[ByteArray], FloatArray], step: Callable[[], None]
) -> tuple[FloatArray, float]:
    """Belief (h, w) float 0..1 of the size of ``rgb``, the mean of three views, and the smallest overlap of two (0..1).

    ``step`` is called between the views and may raise.
    """
    import cv2

    height, width = rgb.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(rgb, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE)

    def sized(belief: FloatArray, wide: int, high: int) -> FloatArray:
        answer = np.clip(np.asarray(belief, np.float32), 0.0, 1.0)
        return np.asarray(cv2.resize(answer, (wide, high), interpolation=cv2.INTER_LINEAR), np.float32)

    plain = sized(finder(rgb), width, height)
    step()
    mirrored = sized(finder(np.ascontiguousarray(rgb[:, ::-1])), width, height)[:, ::-1]
    step()
    padded = sized(finder(np.asarray(square, np.uint8)), side, side)[top : top + height, left : left + width]
    beliefs = (plain, mirrored, padded)
    steadiness = min(iou(first > 0.5, second > 0.5) for first, second in combinations(beliefs, 2))
    return np.asarray(np.mean(beliefs, axis=0), np.float32), steadiness
