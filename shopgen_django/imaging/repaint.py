"""Lay a repainted part back into its picture: what was not marked keeps every byte.

A model that repaints returns the whole picture through its autoencoder, which moves pixels everywhere; so only the
marked part is taken from it. The seam is softened inwards, never over what is kept.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["box_around", "hard_mask", "laid_in", "mask_of"]


def mask_of(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask (L, of ``size``) from a picture of any kind: bright is marked; of one with transparency the alpha counts.

    Greys of up to 8 count as black: compression leaves them there.
    """
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    opaque = alpha is None or alpha.getextrema() == (255, 255)
    mask = alpha if alpha is not None and not opaque else picture.convert("RGB").convert("L")
    mask = mask.point(lambda value: value if value > 8 else 0)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def box_around(mask: Image.Image, *, room: float, least: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of a picture to hand to a model so that it sees enough around the marked part.

    Args:
        mask: L, of the picture's size; over 0 is marked.
        room: share of the marked part's longer side that is added on each side.
        least: width and height in pixels that the part has at least, as far as the picture has them.

    Returns left, top, right, bottom in pixels; ``None`` when nothing is marked.
    """
    marked = mask.getbbox()
    if marked is None:
        return None
    left, top, right, bottom = marked
    more = round(room * max(right - left, bottom - top))
    across = _span(left - more, right + more, least[0], mask.width)
    down = _span(top - more, bottom + more, least[1], mask.height)
    return across[0], down[0], across[1], down[1]


def hard_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The mask at another size, all or nothing: every pixel that is touched by a marked one is marked."""
    full = mask.point(lambda value: 255 if value else 0)
    if full.size != size:
        full = full.resize(size, Image.Resampling.BOX)
    return full.point(lambda value: 255 if value else 0)


def laid_in(
    original: Image.Image, painted: Image.Image, mask: Image.Image, *, place: tuple[int, int], feather: float
) -> Image.Image:
    """``original`` (RGB) with ``painted`` (RGB) laid in at ``place`` (left, top) where ``mask`` says so.

    Args:
        mask: L, of the size of ``painted``: 255 takes the painted pixel, 0 keeps the original's bytes, between mixes.
        feather: width in pixels of the soft seam, inside the marked part.
    """
    import cv2

    if original.mode != "RGB" or painted.mode != "RGB" or painted.size != mask.size:
        raise ValueError("Original and painted are RGB pictures, and the mask has the painted one's size.")
    weight = np.asarray(mask, np.float32) / 255.0
    if feather > 0:
        # Padded, so that the picture's own frame is no seam.
        inside = cv2.copyMakeBorder((weight > 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
        weight = np.minimum(weight, np.clip(depth / (feather + 1.0), 0.0, 1.0))
    box = (place[0], place[1], place[0] + painted.width, place[1] + painted.height)
    kept = np.asarray(original.crop(box), np.float32)
    mixed = kept + (np.asarray(painted, np.float32) - kept) * weight[..., None]
    result = original.copy()
    result.paste(Image.fromarray(np.rint(mixed).astype(np.uint8), "RGB"), place)
    return result


def _span(low: int, high: int, least: int, limit: int) -> tuple[int, int]:
    """A stretch of at least ``least`` pixels around low..high, moved and cut so that it lies in 0..limit."""
    lacking = max(0, least - (high - low))
    low, high = low - lacking // 2, high + lacking - lacking // 2
    if low < 0:
        low, high = 0, high - low
    if high > limit:
        low, high = max(0, low - (high - limit)), limit
    return low, high
