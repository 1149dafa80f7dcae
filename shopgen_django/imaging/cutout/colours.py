"""The product's own colours on its rim, where the photo shows a mixture of product and old ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .alpha import shrunk, stretched, strips

__all__ = ["foreground"]

_SIDE = 1000
"""Longest side, in pixels, at which neighbours are looked for."""
_FAR, _NEAR = 24, 5
"""Reach in pixels of the two passes, at that size."""

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


def foreground(image: Image.Image, alpha: ByteArray) -> ByteArray:
    """Colours (h, w, 3) uint8 with which the product blends on any ground without the halo of the old one.

    Blurred fusion (Forte 2021, "Approximate Fast Foreground Colour Estimation", a local form of the multi-level method
    of Germer et al. 2020): a first guess is the mean colour of product and ground nearby, each weighted by its share,
    in two passes on at most :data:`_SIDE` pixels; then the photo's own equation ``I = a F + (1 - a) B`` corrects it at
    full size, in strips. Pixels with alpha 255 keep the photo's bytes. Pixels with alpha 0 get the nearest product
    colour, or white far from it, so that no old ground hides in the file and resizing bleeds none in.

    Raises ``ValueError`` when the sizes differ.
    """
    import cv2

    if alpha.shape != (image.height, image.width):
        raise ValueError(
            f"The alpha is {alpha.shape[1]} x {alpha.shape[0]}, the picture {image.width} x {image.height}."
        )
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = shrunk(rgb, _SIDE)
    size = (small.shape[1], small.shape[0])
    share = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255.0
    front, back = _guessed(small.astype(np.float32), share)
    result = np.array(rgb)
    for top, bottom in strips(image.size):
        part = alpha[top:bottom]
        soft = part < 255
        if not soft.any():
            continue
        a = part[soft].astype(np.float32)[:, None] / 255.0
        near, ground = (_rows(field, image.size, top, bottom)[soft] for field in (front, back))
        residue = result[top:bottom][soft].astype(np.float32) - a * near - (1.0 - a) * ground
        result[top:bottom][soft] = np.rint(np.clip(near + a * residue, 0.0, 255.0)).astype(np.uint8)
    return result


def _guessed(photo: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Colours of product and of ground everywhere, (h, w, 3) float 0..255, from those nearby."""
    import cv2

    front, back = photo, photo
    weight = share
    for reach in (_FAR, _NEAR):
        window = (2 * reach + 1, 2 * reach + 1)

        def mean(values: FloatArray, window: tuple[int, int] = window) -> FloatArray:
            blurred = cv2.blur(values, window)
            return np.asarray(blurred if blurred.ndim == 3 else blurred[..., None], np.float32)

        weight = mean(share)
        front_mean = mean(front * share) / (weight + 1e-5)
        back_mean = mean(back * (1.0 - share)) / (1.0 - weight + 1e-5)
        residue = photo - share * front_mean - (1.0 - share) * back_mean
        # Where no product is near, the blur knows no colour: the pass before it has the better answer.
        front = np.where(weight > 1e-3, np.clip(front_mean + share * residue, 0.0, 255.0), front)
        back = np.clip(back_mean + (1.0 - share) * residue, 0.0, 255.0)
    return np.where(weight > 1e-3, front, np.float32(255.0)).astype(np.float32), back.astype(np.float32)


def _rows(field: FloatArray, size: tuple[int, int], top: int, bottom: int) -> FloatArray:
    """Rows ``top .. bottom`` of ``field`` brought to ``size`` (width, height)."""
    if (field.shape[1], field.shape[0]) == size:
        return field[top:bottom]
    return stretched(field, size, top, bottom)
