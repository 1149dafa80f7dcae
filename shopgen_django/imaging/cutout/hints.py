"""What a person says about a picture that the finder got wrong: a box, clicks, brush strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hints", "Prompts", "box_of", "prompts_of", "with_hints"]

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Point = tuple[float, float]

_CLICK = 0.012
"""Radius of a click as a share of the longer side."""
_ALIKE = 9.0
"""Distance in CIE Lab up to which a click's region spreads to its neighbours."""
_KEEP, _DROP = 1, 2
_POINTS = 8
"""Points of a kind that a network is told at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """All positions are shares of width and height, 0..1 from the top left.

    ``box`` is (left, top, right, bottom): nothing outside belongs to the product. ``keep`` and ``drop`` are clicks on
    the product and on the ground. ``strokes`` is a painted map (any size, uint8): 1 product, 2 ground, else 0.
    """

    box: tuple[float, float, float, float] | None = None
    keep: tuple[Point, ...] = ()
    drop: tuple[Point, ...] = ()
    strokes: ByteArray | None = None

    def __post_init__(self) -> None:
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
                raise ValueError(f"A box is left < right and top < bottom, each 0 to 1, not {self.box}.")
        if any(not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0) for x, y in (*self.keep, *self.drop)):
            raise ValueError("A click lies at two values of 0 to 1.")

    @property
    def marks(self) -> bool:
        """Whether there is more than a box."""
        return bool(self.keep or self.drop or (self.strokes is not None and self.strokes.any()))


def box_of(hints: Hints, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box in whole pixels of a picture of ``size`` (width, height); the whole picture without one."""
    width, height = size
    left, top, right, bottom = hints.box or (0.0, 0.0, 1.0, 1.0)
    return (
        int(left * width),
        int(top * height),
        max(int(left * width) + 1, round(right * width)),
        max(int(top * height) + 1, round(bottom * height)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Where a network that can be told so shall look, in pixels of the picture that it is given.

    ``box`` (left, top, right, bottom) lies around the product; ``None``: the points alone say where it is. ``keep`` are
    points on it, ``drop`` points beside it.
    """

    box: tuple[float, float, float, float] | None = None
    keep: tuple[Point, ...] = ()
    drop: tuple[Point, ...] = ()

    def mirrored(self, width: int) -> Prompts:
        """The same on the picture seen in a mirror, ``width`` pixels wide."""
        box = self.box and (width - self.box[2], self.box[1], width - self.box[0], self.box[3])
        keep, drop = (tuple((width - 1 - x, y) for x, y in points) for points in (self.keep, self.drop))
        return Prompts(box=box, keep=keep, drop=drop)

    def moved(self, right: int, down: int) -> Prompts:
        """The same on a picture in which everything lies so much further right and down."""
        box = self.box and (self.box[0] + right, self.box[1] + down, self.box[2] + right, self.box[3] + down)
        keep, drop = (tuple((x + right, y + down) for x, y in points) for points in (self.keep, self.drop))
        return Prompts(box=box, keep=keep, drop=drop)


def prompts_of(
    hints: Hints, size: tuple[int, int], part: tuple[int, int, int, int], belief: FloatArray
) -> Prompts:
    """What a network is told that looks at ``part`` (left, top, right, bottom) of a picture of ``size`` (wide, high).

    A person's box and marks, of each stroke the point deepest inside; where they say of nothing that it is product, the
    box around what ``belief`` (any size, framed as the part) takes for it, so that a network which must be told where
    to look works without a person as well.
    """
    left, top, right, bottom = part
    box = None
    if hints.box is not None:
        x0, y0, x1, y1 = box_of(hints, size)
        box = (float(x0 - left), float(y0 - top), float(x1 - left), float(y1 - top))
    marks = _marks(hints, (size[1], size[0]))[top:bottom, left:right]
    keep, drop = (_deepest(marks == kind) for kind in (_KEEP, _DROP))
    if box is None and not keep:
        rows, columns = np.nonzero(belief > 0.5)
        across, down = (right - left) / belief.shape[1], (bottom - top) / belief.shape[0]
        box = (0.0, 0.0, float(right - left), float(bottom - top)) if not len(rows) else (
            float(columns.min()) * across, float(rows.min()) * down, float(columns.max() + 1) * across,
            float(rows.max() + 1) * down,
        )
    return Prompts(box=box, keep=keep, drop=drop)


def _deepest(marked: NDArray[np.bool_]) -> tuple[Point, ...]:
    """Of each marked patch, the largest first, the point that is farthest from its edge: (x, y) in pixels."""
    import cv2

    count, patches, stats, _centres = cv2.connectedComponentsWithStats(marked.astype(np.uint8))
    largest = sorted(range(1, count), key=lambda patch: -int(stats[patch, cv2.CC_STAT_AREA]))
    points = []
    for patch in largest[:_POINTS]:
        inside = np.pad((patches == patch).astype(np.uint8), 1)
        y, x = np.unravel_index(int(np.argmax(cv2.distanceTransform(inside, cv2.DIST_L2, 3))), inside.shape)
        points.append((float(x) - 1.0, float(y) - 1.0))
    return tuple(points)


def with_hints(rgb: ByteArray, belief: FloatArray, hints: Hints) -> FloatArray:
    """``belief`` (h, w; the size of ``rgb``) changed so that it agrees with what the person says.

    A click speaks for the patch of like colour around it, bounded by where the belief already agrees; inside the
    changed patches the outline is searched anew with GrabCut, the rest of the belief stays as it is.
    """
    import cv2

    marks = _marks(hints, rgb.shape[:2])
    if not marks.any():
        return belief
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), np.float32)
    result = belief.copy()
    for kind, value in ((_KEEP, 1.0), (_DROP, 0.0)):
        count, parts = cv2.connectedComponents((marks == kind).astype(np.uint8))
        for part in range(1, count):
            stroke = parts == part
            patch = _patch(lab, stroke)
            # What disagrees follows the person; what another mark claims does not.
            change = patch & ((result > 0.5) != (value > 0.5)) & ((marks == 0) | (marks == kind))
            result[_joined(change, stroke)] = value
    result[marks == _KEEP], result[marks == _DROP] = 1.0, 0.0
    changed = (result > 0.5) != (belief > 0.5)
    return _settled(rgb, result, changed, marks)


def _marks(hints: Hints, shape: tuple[int, ...]) -> ByteArray:
    import cv2

    height, width = shape[:2]
    marks = np.zeros((height, width), np.uint8)
    if hints.strokes is not None:
        for kind in (_KEEP, _DROP):
            # Averaged, so that a stroke thinner than a pixel of the small picture still marks it.
            painted = (hints.strokes == kind).astype(np.float32)
            shrinks = max(painted.shape) > max(height, width)
            way = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            marks[cv2.resize(painted, (width, height), interpolation=way) > 0.0] = kind
    radius = max(1, round(_CLICK * max(height, width)))
    for kind, clicks in ((_KEEP, hints.keep), (_DROP, hints.drop)):
        for x, y in clicks:
            cv2.circle(marks, (round(x * (width - 1)), round(y * (height - 1))), radius, kind, thickness=-1)
    return marks


def _patch(lab: FloatArray, stroke: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose colour is one of the stroke's (its three main ones)."""
    import cv2

    inside = lab[stroke]
    cv2.setRNGSeed(1)
    groups = 3
    if len(inside) <= groups:  # k-means needs more pixels than groups
        centres = inside
    else:
        _, _, centres = cv2.kmeans(inside, groups, None, (3, 8, 1.0), 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    distance = np.min(np.linalg.norm(lab[:, :, None] - centres[None, None], axis=3), axis=2)
    return np.asarray(distance < _ALIKE, bool)


def _joined(mask: NDArray[np.bool_], stroke: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of ``mask`` that hang together with ``stroke``."""
    import cv2

    _, parts = cv2.connectedComponents((mask | stroke).astype(np.uint8), connectivity=4)
    touched = np.unique(parts[stroke])
    return np.asarray(np.isin(parts, touched[touched > 0]), bool)


def _settled(rgb: ByteArray, belief: FloatArray, changed: NDArray[np.bool_], marks: ByteArray) -> FloatArray:
    """Search the outline anew in and around ``changed``."""
    import cv2

    if not changed.any():
        return belief
    reach = max(3, round(0.02 * max(rgb.shape)))
    near = cv2.dilate(changed.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
    edge = cv2.morphologyEx(
        (belief > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2 * reach + 1,) * 2, np.uint8)
    )
    seeds = np.where(belief > 0.5, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    open_ = near & (edge > 0)
    seeds[open_] = np.where(belief[open_] > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    seeds[marks == _KEEP], seeds[marks == _DROP] = cv2.GC_FGD, cv2.GC_BGD
    if not open_.any() or not (seeds & 1).any() or (seeds & 1).all():
        return belief
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb[:, :, ::-1]), seeds, (0, 0, 1, 1), *models, 2, cv2.GC_INIT_WITH_MASK)
    found = ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.float32)
    return np.where(open_, found, belief).astype(np.float32)
