"""What the operations that need a cut-out share: a person's hints as parameters, the engine, doubts in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines import get_engine
from shopgen_django.engines.cutout import CutoutEngine
from shopgen_django.exceptions import PermanentError

from .base import OperationContext
from .marks import BoxField, StrokesField, painted_strokes
from .parameters import Parameters

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.cutout import CutOut, Hints

ENGINE = "cutout"
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

    box = BoxField(
        label=gettext_lazy("Box"), required=False,
        help_text=gettext_lazy(
            "[left, top, right, bottom] as shares of the picture, 0 to 1: nothing outside is product. Empty: all of it."
        ),
    )
    strokes = StrokesField(
        label=gettext_lazy("Brush strokes"), required=False, words=(gettext_lazy("product"), gettext_lazy("ground")),
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
    finder = engine.finder(threads=context.threads, device=context.device)
    try:
        return cut_out(picture, finder=finder, hints=hints_of(context.params), check=context.check)
    except NetworkError as error:
        raise PermanentError(str(error), code="model_unavailable") from error


def facts_of_cut() -> dict[str, str]:
    """What a result says of the network that :func:`cut` has just used; call it after that."""
    engine = get_engine(ENGINE)
    return dict(engine.facts()) if isinstance(engine, CutoutEngine) else {}


def hints_of(params: Mapping[str, Any]) -> Hints:
    """The parameters ``box`` and ``strokes`` as the imaging code takes them."""
    import numpy as np

    from shopgen_django.imaging.cutout import Hints

    box = params.get("box")
    strokes = params.get("strokes")
    painted = None
    if strokes:
        painted = np.asarray(painted_strokes(strokes, (_STROKES_SIDE, _STROKES_SIDE), keep=1, drop=2), np.uint8)
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
