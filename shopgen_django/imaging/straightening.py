"""Geometry put right: a small rotation, and the perspective of flat goods."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .background import WHITE

__all__ = ["find_angle", "find_corners", "rectified", "turned"]

MOST_ANGLE = 8.0
SIDE = 1024
_SURE = 0.35
_LEAST_AREA = 0.2
Corners = tuple[tuple[float, float], ...]


def find_angle(picture: Image.Image) -> float:
    """Degrees (counter-clockwise, at most 8) by which turning the picture makes its lines level and upright; 0 when
    there are too few lines, or they don't agree."""
    import cv2

    grey = _small_grey(picture)
    edges = cv2.Canny(grey, 60, 160)
    shortest = max(20, min(grey.shape) // 8)
    lines = cv2.HoughLinesP(edges, 1, np.pi / 720, 60, minLineLength=shortest, maxLineGap=6)
    if lines is None:
        return 0.0
    x1, y1, x2, y2 = np.asarray(lines, dtype=np.float64).reshape(-1, 4).T
    length = np.hypot(x2 - x1, y2 - y1)
    angle = np.degrees(np.arctan2(y2 - y1, x2 - x1))
    off = (angle + 45.0) % 90.0 - 45.0  # from the nearest axis
    near = np.abs(off) <= MOST_ANGLE
    if length[near].sum() < _SURE * length.sum() or near.sum() < 3:
        return 0.0
    order = np.argsort(off[near])
    along, weight = off[near][order], length[near][order]
    middle = float(along[np.searchsorted(np.cumsum(weight), weight.sum() / 2)])
    agree = weight[np.abs(along - middle) < 0.75].sum() / weight.sum()
    return middle if agree > 0.6 and abs(middle) >= 0.25 else 0.0


def turned(picture: Image.Image, angle: float, ground: tuple[int, int, int] = WHITE) -> Image.Image:
    """Turned by ``angle`` degrees counter-clockwise; the corners are filled with ``ground`` (clear where there is
    transparency)."""
    if angle == 0.0:
        return picture.copy()
    fill: Any = (*ground, 0) if picture.mode == "RGBA" else ground[0] if picture.mode == "L" else ground
    return picture.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=fill)


def find_corners(picture: Image.Image) -> Corners | None:
    """The corners of a flat thing with four of them (book, poster, pack), clockwise from the upper left, as shares of
    width and height; ``None`` when there is no such thing."""
    import cv2

    grey = _small_grey(picture)
    soft = cv2.bilateralFilter(grey, 7, 40, 5)
    best: NDArray[Any] | None = None
    largest = _LEAST_AREA * grey.size
    _level, ink = cv2.threshold(soft, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    edges = cv2.dilate(cv2.Canny(soft, 30, 90), np.ones((5, 5), np.uint8))
    for drawn in (ink, 255 - ink, edges):
        outlines, _tree = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for outline in outlines:
            hull = cv2.convexHull(outline)
            area = float(cv2.contourArea(hull))
            if area <= largest or area > 0.96 * grey.size or area * 0.9 > float(cv2.contourArea(outline)):
                continue
            four = cv2.approxPolyDP(hull, 0.03 * cv2.arcLength(hull, True), True)
            if len(four) == 4 and float(cv2.contourArea(four)) > 0.93 * area:
                best, largest = four.reshape(4, 2).astype(np.float64), area
    if best is None:
        return None
    height, width = grey.shape
    return ordered([(float(x) / width, float(y) / height) for x, y in best])


def ordered(corners: list[tuple[float, float]]) -> Corners:
    """Four corners clockwise, from the one nearest to the upper left."""
    middle_x, middle_y = (sum(corner[axis] for corner in corners) / 4 for axis in (0, 1))
    around = sorted(corners, key=lambda c: float(np.arctan2(c[1] - middle_y, c[0] - middle_x)))
    first = min(range(4), key=lambda n: around[n][0] + around[n][1])
    return tuple(around[first:] + around[:first])


def rectified(picture: Image.Image, corners: Corners) -> Image.Image:
    """The quadrilateral seen from straight above, its sides as long as the longer of each pair.

    Raises ValueError when the corners are not a convex quadrilateral of some size.
    """
    import cv2

    points = np.array(corners, dtype=np.float32) * np.array(picture.size, dtype=np.float32)
    if cv2.contourArea(points) < 64 or not cv2.isContourConvex(points.astype(np.int32)):
        raise ValueError("The four corners must be those of a convex quadrilateral, in order around it.")
    across = max(np.linalg.norm(points[1] - points[0]), np.linalg.norm(points[2] - points[3]))
    down = max(np.linalg.norm(points[3] - points[0]), np.linalg.norm(points[2] - points[1]))
    width, height = max(8, round(float(across))), max(8, round(float(down)))
    goal = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    how = cv2.getPerspectiveTransform(points, goal)
    made = cv2.warpPerspective(
        np.asarray(picture), how, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return Image.fromarray(np.asarray(made, dtype=np.uint8))


def _small_grey(picture: Image.Image) -> NDArray[np.uint8]:
    copy = picture.convert("RGB").convert("L")
    copy.thumbnail((SIDE, SIDE))
    return np.asarray(copy, dtype=np.uint8)
