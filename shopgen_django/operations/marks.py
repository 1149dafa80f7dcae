"""Marks that a person makes on a picture, as parameters: a box, brush strokes. The admin shows them as an editor.

All numbers are shares of the upright picture, so that marks made on a small copy hold for the full size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from PIL import Image

MAX_STROKES = 500
MAX_POINTS = 20_000
DEFAULT_RADIUS = 0.01


class MarksField(forms.JSONField):
    """A field that the admin shows as an editor over the picture; ``marks`` is what is made with it."""

    marks = ""

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "data-sg-marks": self.marks, "rows": 2, "class": "vLargeTextField"}

    def prepare_value(self, value: Any) -> Any:
        """Nothing marked is shown as an empty field, not as the word null."""
        return "" if value in (None, "", []) else super().prepare_value(value)


class BoxField(MarksField):
    """``[left, top, right, bottom]``, each 0..1, or ``None`` for the whole picture."""

    marks = "box"

    def clean(self, value: Any) -> list[float] | None:
        box = super().clean(value)
        if box in (None, "", []):
            return None
        if not (isinstance(box, list) and len(box) == 4 and all(_share(each) for each in box)):
            raise ValidationError(_("A box is four numbers of 0 to 1: left, top, right, bottom."))
        left, top, right, bottom = (float(each) for each in box)
        if not (left < right and top < bottom):
            raise ValidationError(_("The box is empty: left must be smaller than right, and top than bottom."))
        return [left, top, right, bottom]


class CornersField(MarksField):
    """``[[x, y], [x, y], [x, y], [x, y]]`` as shares of the picture (top left, top right, bottom right, bottom left),
    or ``None``."""

    marks = "corners"

    def clean(self, value: Any) -> list[list[float]] | None:
        corners = super().clean(value)
        if corners in (None, "", []):
            return None
        right = isinstance(corners, list) and len(corners) == 4 and all(
            isinstance(corner, list) and len(corner) == 2 and all(_share(v) for v in corner) for corner in corners
        )
        if not right:
            raise ValidationError(_("Corners are four points [x, y] with values of 0 to 1."))
        return [[float(x), float(y)] for x, y in corners]


class StrokesField(MarksField):
    """``[{"keep": bool, "radius": 0..1, "points": [[x, y], ...]}, ...]`` or ``None``; a click is one point.

    ``keep`` says what the brush means: product or ground where something is cut out, damage or sound where something
    is repaired. ``radius`` is a share of each side. Later strokes lie over earlier ones. ``words`` are what people call
    the two brushes, that of ``keep`` first.
    """

    marks = "strokes"

    def __init__(
        self, *, words: tuple[Any, Any] = (gettext_lazy("keep"), gettext_lazy("leave out")), **kwargs: Any
    ) -> None:
        self.words = words
        super().__init__(**kwargs)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "data-sg-keep": self.words[0], "data-sg-drop": self.words[1]}

    def clean(self, value: Any) -> list[dict[str, Any]] | None:
        strokes = super().clean(value)
        if strokes in (None, "", []):
            return None
        if not isinstance(strokes, list) or len(strokes) > MAX_STROKES:
            raise ValidationError(_("Strokes are a list of at most %(limit)d.") % {"limit": MAX_STROKES})
        settled = [_stroke(stroke) for stroke in strokes]
        if sum(len(stroke["points"]) for stroke in settled) > MAX_POINTS:
            raise ValidationError(_("The strokes have more than %(limit)d points.") % {"limit": MAX_POINTS})
        return settled


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _stroke(stroke: Any) -> dict[str, Any]:
    points = stroke.get("points") if isinstance(stroke, dict) else None
    if (
        not isinstance(stroke, dict)
        or not set(stroke) <= {"keep", "radius", "points"}
        or not isinstance(stroke.get("keep"), bool)
        or not _share(stroke.get("radius", DEFAULT_RADIUS))
        or not isinstance(points, list)
        or not points
        or not all(isinstance(point, list) and len(point) == 2 and all(_share(v) for v in point) for point in points)
    ):
        raise ValidationError(
            _('A stroke is {"keep": true or false, "radius": 0 to 1, "points": [[x, y], …]} with values of 0 to 1.')
        )
    return {"keep": stroke["keep"], "radius": float(stroke.get("radius", DEFAULT_RADIUS)), "points": points}


def painted_strokes(
    strokes: Sequence[Mapping[str, Any]], size: tuple[int, int], *, keep: int, drop: int,
    over: Image.Image | None = None,
) -> Image.Image:
    """Strokes (as cleaned by :class:`StrokesField`) painted into a picture of mode ``L``.

    Args:
        size: width and height in pixels.
        keep: value, 0..255, painted where ``keep`` is true; ``drop`` where it is not.
        over: what they are painted over (``L``, of this size; it is not changed); ``None``: zeros.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("L", size) if over is None else over.copy()
    draw = ImageDraw.Draw(canvas)
    width, height = size
    for stroke in strokes:
        value = keep if stroke["keep"] else drop
        points = [(x * (width - 1), y * (height - 1)) for x, y in stroke["points"]]
        across, down = max(1.0, stroke["radius"] * width), max(1.0, stroke["radius"] * height)
        if len(points) > 1:
            draw.line(points, fill=value, width=max(1, round(across + down)), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - across, y - down, x + across, y + down), fill=value)
    return canvas
