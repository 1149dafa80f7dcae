"""A picture's outlines as white lines on black, as networks that are held to edges were trained on."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["edges_of"]


def edges_of(picture: Image.Image, *, low: int = 100, high: int = 200) -> Image.Image:
    """Edges by Canny (1986) of an RGB or L picture; L of its size, 255 on a line.

    ``low`` and ``high`` are the two thresholds on the gradient of the 8-bit luma; the defaults are those that such
    networks are usually trained with.
    """
    import cv2

    return Image.fromarray(cv2.Canny(np.asarray(picture.convert("L")), low, high), "L")
