"""A network asked about three views of one picture: as it is, mirrored, and not stretched to the network's shape.

What it says of all three is steadier than of one, and where the three differ it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .classical import iou
from .hints import Prompts

__all__ = ["look"]

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


def look(
    rgb: ByteArray, finder: Callable[..., FloatArray], step: Callable[[], None], prompts: Prompts | None = None
) -> tuple[FloatArray, float]:
    """Belief (h, w) float 0..1 of the size of ``rgb``, the mean of three views, and the smallest overlap of two (0..1).

    ``step`` is called between the views and may raise. ``prompts``, in pixels of ``rgb``, are what a finder that takes
    them is told; each view gets them where it shows the same.
    """
    import cv2

    height, width = rgb.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(rgb, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE)

    def sized(belief: FloatArray, wide: int, high: int) -> FloatArray:
        answer = np.clip(np.asarray(belief, np.float32), 0.0, 1.0)
        return np.asarray(cv2.resize(answer, (wide, high), interpolation=cv2.INTER_LINEAR), np.float32)

    def asked(view: ByteArray, told: Prompts | None) -> FloatArray:
        return np.asarray(finder(view) if told is None else finder(view, told), np.float32)

    plain = sized(asked(rgb, prompts), width, height)
    step()
    turned = asked(np.ascontiguousarray(rgb[:, ::-1]), prompts and prompts.mirrored(width))
    mirrored = sized(turned, width, height)[:, ::-1]
    step()
    framed = asked(np.asarray(square, np.uint8), prompts and prompts.moved(left, top))
    padded = sized(framed, side, side)[top : top + height, left : left + width]
    beliefs = (plain, mirrored, padded)
    steadiness = min(iou(first > 0.5, second > 0.5) for first, second in combinations(beliefs, 2))
    return np.asarray(np.mean(beliefs, axis=0), np.float32), steadiness
