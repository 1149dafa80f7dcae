"""The product's own colours on its rim, where the photo shows a mixture of product and old ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .alpha import strips

__all__ = ["foreground"]

_FAR, _NEAR = 24, 5
"""Reach in pixels of the two passes, on a picture of 1,000 px; it grows with the picture."""

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


def foreground(image: Image.Image, alpha: ByteArray) -> ByteArray:
    """Colours (h, w, 3) uint8 with which the product blends on any ground without the halo of the old one.

    Two passes of blurred fusion (Forte 2021, "Approximate Fast Foreground Colour Estimation", a local form of the
    multi-level method of Germer et al. 2020): a first guess is the mean colour of product and ground nearby, each
    weighted by its share, then the photo's own equation ``I = a F + (1 - a) B`` corrects it. Pixels with alpha 255 keep
    the photo's bytes. Pixels with alpha 0 get the nearest product colour, so that no old ground hides in the file and
    resizing bleeds none in.
    """
    if alpha.shape != (image.height, image.width):
        raise ValueError(
            f"The alpha is {alpha.shape[1]} x {alpha.shape[0]}, the picture {image.width} x {image.height}."
        )
    scale = max(1.0, max(image.size) / 1000.0)
    far, near = round(_FAR * scale), round(_NEAR * scale)
    result = np.array(image.convert("RGB"))
    margin = 2 * (far + near)
    for top, bottom in strips(image.size):
        first, last = max(0, top - margin), min(image.height, bottom + margin)
        part = alpha[first:last]
        soft = part[top - first : bottom - first] < 255
        if not soft.any():
            continue
        colours = np.asarray(image.crop((0, first, image.width, last)).convert("RGB"))
        fused = _fused(colours, part, far, near)[top - first : bottom - first]
        result[top:bottom][soft] = fused[soft]
    return result


def _fused(colours: ByteArray, alpha: ByteArray, far: int, near: int) -> ByteArray:
    import cv2

    photo = colours.astype(np.float32)
    share = (alpha.astype(np.float32) / 255.0)[..., None]
    front, back = photo, photo
    for reach in (far, near):
        window = (2 * reach + 1, 2 * reach + 1)

        def mean(values: FloatArray, window: tuple[int, int] = window) -> FloatArray:
            blurred = cv2.blur(values, window)
            return np.asarray(blurred if blurred.ndim == 3 else blurred[..., None], np.float32)

        weight = mean(share)
        front_mean = mean(front * share) / (weight + 1e-5)
        back_mean = mean(back * (1.0 - share)) / (1.0 - weight + 1e-5)
        residue = photo - share * front_mean - (1.0 - share) * back_mean
        # Where no product is near, the blur knows no colour: the pass before it has the better answer.
        known = weight > 1e-3
        front = np.where(known, np.clip(front_mean + share * residue, 0.0, 255.0), front)
        back = np.clip(back_mean + (1.0 - share) * residue, 0.0, 255.0)
    nowhere = mean(share)[..., 0] <= 1e-3
    bytes_ = np.rint(front).astype(np.uint8)
    bytes_[nowhere] = 255
    return bytes_
