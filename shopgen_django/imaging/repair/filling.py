"""Holes of a picture filled by the method that suits each, on crops at full size; all else stays to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .smooth import fill_smooth
from .texture import fill_texture

FloatArray = NDArray[np.float32]
REACH = 28
"""Pixels around a hole that are looked at at least."""
MOST_SIDE = 640
"""Side of a crop; larger holes are worked through in parts."""
_THIN = 4.5
"""Half the width up to which a hole counts as thin: there the smooth filling is nearer to the truth (measured)."""
_CALM = 2.5
"""Mean difference of neighbours around a hole up to which it counts as plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A repaired picture.

    Attributes:
        share: of the picture that was filled, 0..1.
        widest: width of the widest hole in pixels.
        textured: share of the filled pixels that were made of texture, 0..1; the rest was filled smoothly.
    """

    image: Image.Image
    share: float
    widest: float
    textured: float


def prepared_mask(mask: Image.Image, size: tuple[int, int], *, widen: int) -> NDArray[np.bool_]:
    """``(h, w)``: a mask of any kind and size brought to ``size``, widened by ``widen`` pixels.

    ``L``, ``1`` and ``RGB``: bright is damage. ``RGBA``, ``LA``: the alpha is the mask, unless it is full everywhere.
    """
    import cv2

    grey = mask
    if mask.mode in ("RGBA", "LA", "PA") or "transparency" in mask.info:
        alpha = mask.convert("RGBA").getchannel("A")
        grey = mask.convert("RGBA").convert("L") if alpha.getextrema()[0] == 255 else alpha
    grey = grey.convert("L")
    if grey.size != size:
        grey = grey.resize(size, Image.Resampling.BILINEAR)
    found = (np.asarray(grey) > 127).astype(np.uint8)
    if not widen or not found.any():
        return np.asarray(found > 0)
    side = 2 * widen + 1
    return np.asarray(cv2.dilate(found, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > 0)


def fill(
    picture: Image.Image, hole: NDArray[np.bool_], *, method: str = "auto", feather: int = 0,
    check: Callable[[float], object] | None = None,
) -> Repaired:
    """Fill ``hole`` of ``picture`` (``L``, ``RGB``, ``RGBA``; transparency is kept).

    Args:
        method: ``smooth``, ``texture``, or ``auto``: smooth for thin holes and plain surroundings, else texture.
        feather: so many pixels along the edge of the hole blend into what is there; 0 when that is damaged.
        check: called with the share that is done; what it raises ends the work.

    Pixels outside ``hole`` come through unchanged.
    """
    import cv2

    base = picture.convert("RGB") if picture.mode == "RGBA" else picture
    array = np.array(base, dtype=np.uint8)
    planes = array[..., None] if array.ndim == 2 else array
    if not hole.any():
        return Repaired(image=picture.copy(), share=0.0, widest=0.0, textured=0.0)
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
    boxes = _boxes(hole)
    textured = 0.0
    for number, (inner, outer) in enumerate(boxes, start=1):
        top, bottom, left, right = outer
        part = planes[top:bottom, left:right].astype(np.float32)
        gap = hole[top:bottom, left:right]
        made, share = _fill_part(part, gap, method, _at((number - 1) / len(boxes), check))
        own = np.zeros_like(gap)
        own[inner[0] - top : inner[1] - top, inner[2] - left : inner[3] - left] = True
        weight = (gap & own)[..., None].astype(np.float32)
        if feather:
            weight *= np.clip(distance[top:bottom, left:right] / (feather + 1), 0.0, 1.0)[..., None]
        blended = np.rint(part + weight * (made - part))
        planes[top:bottom, left:right] = np.where((gap & own)[..., None], blended, planes[top:bottom, left:right])
        textured += share * float((gap & own).sum())
        if check is not None:
            check(number / len(boxes))
    result = Image.fromarray(planes[..., 0] if array.ndim == 2 else planes)
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A"))
    return Repaired(
        image=result, share=float(hole.mean()), widest=2.0 * float(distance.max()),
        textured=textured / float(hole.sum()),
    )


def _at(share: float, check: Callable[[float], object] | None) -> Callable[[], None]:
    def still() -> None:
        if check is not None:
            check(share)

    return still


def _fill_part(
    part: FloatArray, gap: NDArray[np.bool_], method: str, check: Callable[[], None]
) -> tuple[FloatArray, float]:
    """A crop filled, and the share of texture in it."""
    if gap.all():
        return part, 0.0
    thin = _thin(gap)
    if method == "smooth" or (method == "auto" and (thin[gap].all() or _is_calm(part, gap))):
        return fill_smooth(part, gap), 0.0
    made = fill_texture(part, gap, check=check)
    if method == "texture" or not thin.any():
        return made, 1.0
    made = np.where(thin[..., None], fill_smooth(part, gap, made), made)
    return made, 1.0 - float(thin.sum()) / float(gap.sum())


def _thin(gap: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected holes that are nowhere wider than twice :data:`_THIN`."""
    import cv2

    distance = cv2.distanceTransform(gap.astype(np.uint8), cv2.DIST_L2, 3)
    count, labels = cv2.connectedComponents(gap.astype(np.uint8), connectivity=8)
    widest = np.zeros(count)
    np.maximum.at(widest, np.asarray(labels, dtype=np.int64).ravel(), np.asarray(distance, dtype=np.float64).ravel())
    return np.asarray(gap & (widest <= _THIN)[labels])


def _is_calm(part: FloatArray, gap: NDArray[np.bool_]) -> bool:
    """Whether the ring around a hole is plain."""
    import cv2

    ring = (cv2.dilate(gap.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0) & ~gap
    across = np.abs(np.diff(part.mean(axis=2), axis=1))[ring[:, 1:] & ring[:, :-1]]
    return not across.size or float(across.mean()) < _CALM


def _boxes(hole: NDArray[np.bool_]) -> list[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]:
    """(inner, outer) as (top, bottom, left, right): what is filled, and what is looked at for it.

    Holes whose surroundings overlap are filled together; large groups are cut into parts.
    """
    import cv2

    side = 2 * REACH + 1
    groups = cv2.dilate(hole.astype(np.uint8), np.ones((side, side), np.uint8))
    count, _labels, stats, _centres = cv2.connectedComponentsWithStats(groups, connectivity=8)
    height, width = hole.shape
    found = []
    for number in range(1, count):
        x, y, w, h = (int(value) for value in stats[number][:4])
        for top in range(y, y + h, MOST_SIDE):
            for left in range(x, x + w, MOST_SIDE):
                inner = (top, min(y + h, top + MOST_SIDE), left, min(x + w, left + MOST_SIDE))
                if not hole[inner[0] : inner[1], inner[2] : inner[3]].any():
                    continue
                more = REACH
                outer = (
                    max(0, inner[0] - more), min(height, inner[1] + more), max(0, inner[2] - more),
                    min(width, inner[3] + more),
                )
                found.append((inner, outer))
    return found
