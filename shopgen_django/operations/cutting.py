"""What the operations that need a cut-out share: a person's hints as parameters, the engine, doubts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines import get_engine
from shopgen_django.engines.cutout import CutoutEngine
from shopgen_django.exceptions import PermanentError

from .base import OperationContext
from .parameters import Parameters

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.cutout import CutOut, Hints

ENGINE = "cutout"
MAX_STROKES = 500
MAX_POINTS = 20_000
_STROKES_SIDE = 512

DOUBTS: Mapping[str, str | Promise] = {
    "area": gettext_lazy("what was found is hardly anything, or nearly everything"),
    "frame": gettext_lazy("it touches much of the picture's edge"),
    "separation": gettext_lazy("product and ground have nearly the same colour"),
    "colours": gettext_lazy("the colours of product and ground overlap"),
    "agreement": gettext_lazy("two ways of looking for the product disagree"),
    "steadiness": gettext_lazy("looking at it from another side gives another outline"),
    "decision": gettext_lazy("large parts are undecided"),
    "presence": gettext_lazy("no product was found for sure"),
}


class CutParameters(Parameters):
    """Fields for everything that cuts a product out."""

    box = forms.JSONField(
        label=gettext_lazy("Box"), required=False,
        help_text=gettext_lazy(
            "[left, top, right, bottom] as shares of the picture, 0 to 1: nothing outside is product. Empty: all of it."
        ),
    )
    strokes = forms.JSONField(
        label=gettext_lazy("Brush strokes"), required=False,
        help_text=gettext_lazy(
            'A list of {"keep": true or false, "radius": share of the side, "points": [[x, y], …]}: painted over what '
            "is product and what is not. A click is a stroke of one point."
        ),
    )
    sure = forms.FloatField(
        label=gettext_lazy("Sure enough from"), min_value=0, max_value=1, initial=0.5,
        help_text=gettext_lazy(
            "Results that the cut-out trusts less than this are held back with the reason; 0 lets everything through."
        ),
    )

    def clean_box(self) -> list[float] | None:
        box = self.cleaned_data.get("box")
        if box in (None, "", []):
            return None
        if not (isinstance(box, list) and len(box) == 4 and all(_share(value) for value in box)):
            raise ValidationError(_("A box is four numbers of 0 to 1: left, top, right, bottom."))
        left, top, right, bottom = (float(value) for value in box)
        if not (left < right and top < bottom):
            raise ValidationError(_("The box is empty: left must be smaller than right, and top than bottom."))
        return [left, top, right, bottom]

    def clean_strokes(self) -> list[dict[str, Any]] | None:
        strokes = self.cleaned_data.get("strokes")
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
        or not _share(stroke.get("radius", 0.01))
        or not isinstance(points, list)
        or not points
        or not all(isinstance(point, list) and len(point) == 2 and all(_share(v) for v in point) for point in points)
    ):
        raise ValidationError(
            _('A stroke is {"keep": true or false, "radius": 0 to 1, "points": [[x, y], …]} with values of 0 to 1.')
        )
    return {"keep": stroke["keep"], "radius": float(stroke.get("radius", 0.01)), "points": points}


def cut(context: OperationContext, picture: Image.Image) -> CutOut:
    """Cut the product out of ``picture`` (an input, decoded) as the parameters and the configured engine say.

    Raises PermanentError for a picture that is too small, or an engine that can't be used.
    """
    from shopgen_django.imaging.cutout import cut_out
    from shopgen_django.imaging.cutout.network import NetworkError

    if min(picture.size) < 8:
        raise PermanentError(_("The picture is too small to cut anything out of it."), code="too_small")
    try:
        engine = get_engine(ENGINE)
    except ImproperlyConfigured as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, CutoutEngine):
        raise PermanentError(_("The engine %(name)s can't cut products out.") % {"name": ENGINE}, code="wrong_engine")
    finder = engine.finder(threads=context.threads)
    try:
        return cut_out(picture, finder=finder, hints=hints_of(context.params), check=context.check)
    except NetworkError as error:
        raise PermanentError(str(error), code="model_unavailable") from error


def hints_of(params: Mapping[str, Any]) -> Hints:
    """The parameters ``box`` and ``strokes`` as the imaging code takes them."""
    import numpy as np
    from PIL import Image, ImageDraw

    from shopgen_django.imaging.cutout import Hints

    box = params.get("box")
    painted = None
    if params.get("strokes"):
        canvas = Image.new("L", (_STROKES_SIDE, _STROKES_SIDE))
        draw = ImageDraw.Draw(canvas)
        for stroke in params["strokes"]:
            value = 1 if stroke["keep"] else 2
            points = [(x * (_STROKES_SIDE - 1), y * (_STROKES_SIDE - 1)) for x, y in stroke["points"]]
            radius = max(1.0, stroke["radius"] * _STROKES_SIDE)
            if len(points) > 1:
                draw.line(points, fill=value, width=max(1, round(2 * radius)), joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
        painted = np.asarray(canvas, np.uint8)
    return Hints(box=None if box is None else (box[0], box[1], box[2], box[3]), strokes=painted)


def doubt_in_words(found: CutOut, sure: float) -> str:
    """Why a result is held back, or "" when the cut-out trusts it enough."""
    if found.confidence >= sure:
        return ""
    reason = DOUBTS.get(found.weakest, found.weakest)
    return _(
        "The cut-out is uncertain (%(share)d %% sure): %(reason)s. Look at it, or mark product and ground by hand."
    ) % {"share": round(100 * found.confidence), "reason": reason}


def figures(found: CutOut) -> dict[str, float]:
    """Measurements of a cut-out, for gates and people."""
    return {
        "cutout_confidence": float(found.confidence),
        "cutout_share": float((found.alpha > 127).mean()),
        **{f"cutout_{name}": float(score) for name, score in found.doubts.items()},
    }
