"""A photographed product on a plain ground, in one call: the cut-out and its compositing for those who want no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .background import WHITE, Ground, on_ground
from .cutout import Finder, cut_out
from .cutout.colours import foreground

__all__ = ["compose", "put_on_ground"]


def put_on_ground(
    image: Image.Image, *, ground: tuple[int, int, int] = WHITE, finder: Finder | None = None
) -> tuple[Image.Image, float]:
    """Cut the product out of ``image`` and lay it on the colour ``ground`` (sRGB, 0..255 each).

    Returns an RGB picture of the same size and a confidence in 0..1, low when the outline is implausible (see
    :func:`shopgen_django.imaging.cutout.cut_out`, which also takes the ``finder``). Deterministic.
    """
    found = cut_out(image, finder=finder)
    if not found.alpha.any():
        return Image.new("RGB", image.size, ground), 0.0
    return on_ground(found.picture(), Ground(colour=ground)), found.confidence


def compose(image: Image.Image, alpha: NDArray[np.floating], *, ground: tuple[int, int, int] = WHITE) -> Image.Image:
    """Lay ``image`` on a plain ``ground`` through ``alpha`` (float, height x width, 0..1); RGB of the same size.

    Raises ``ValueError`` when the sizes differ, or when the alpha is 0 everywhere.
    """
    bytes_ = np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8)
    rgb = image.convert("RGB")
    product = Image.fromarray(np.dstack([foreground(rgb, bytes_), bytes_]), "RGBA")
    return on_ground(product, Ground(colour=ground))
