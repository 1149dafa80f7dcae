"""``repair``: scratches, stains, dust, holes, date stamps, marks; found, painted by hand, or given as a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines import get_engine
from shopgen_django.engines.repair import RepairEngine
from shopgen_django.exceptions import PermanentError

from .base import Estimate, Operation, OperationContext, Output
from .marks import StrokesField, painted_strokes
from .parameters import Parameters
from .registry import register
from .results import FormatField, result_format

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.repair import Repaired

ENGINE = "repair"
MOST_SHARE, MOST_WIDTH = 0.25, 0.2
"""Share of the picture, and width of a hole as a share of the shorter side, beyond which a result is held back."""


class RepairParameters(Parameters):
    find = forms.ChoiceField(
        label=gettext_lazy("Look for damage"),
        choices=[
            ("none", gettext_lazy("No: only what is painted or in the mask")),
            ("scratches", gettext_lazy("Scratches and cracks")),
            ("dust", gettext_lazy("Specks of dust on plain ground")),
            ("all", gettext_lazy("Scratches and dust")),
        ],
        initial="none",
        help_text=gettext_lazy("What is found may be print or a seam: look at the mask first."),
    )
    result = forms.ChoiceField(
        label=gettext_lazy("Result"),
        choices=[
            ("repaired", gettext_lazy("The repaired picture")),
            ("damage", gettext_lazy("The mask of what is damaged, to be looked at and changed")),
        ],
        initial="repaired",
    )
    strokes = StrokesField(
        label=gettext_lazy("Brush strokes"), required=False,
        words=(gettext_lazy("damage"), gettext_lazy("no damage")),
        help_text=gettext_lazy(
            'A list of {"keep": true or false, "radius": share of the side, "points": [[x, y], …]}: true paints '
            "damage, false takes it off the mask. A second picture may be the mask: white is damage."
        ),
    )
    widen = forms.IntegerField(
        label=gettext_lazy("Widen by"), min_value=0, max_value=20, initial=3,
        help_text=gettext_lazy("Pixels that are filled around the damage, so that no edge of it stays."),
    )
    method = forms.ChoiceField(
        label=gettext_lazy("Filled"),
        choices=[
            ("auto", gettext_lazy("As suits each hole")),
            ("smooth", gettext_lazy("Smoothly, from the edges")),
            ("texture", gettext_lazy("With texture from around")),
        ],
        initial="auto",
    )
    format = FormatField()


@register
class RepairPicture(Operation):
    name = "repair"
    label = gettext_lazy("Repair")
    description = gettext_lazy(
        "Fills scratches, stains, dust, holes and date stamps; nothing else of the picture changes."
    )
    Parameters = RepairParameters
    engines = (ENGINE,)
    min_inputs = 1
    max_inputs = 2
    together = gettext_lazy("The newer picture is the mask of the older: white is damage")
    second_is_mask = True

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=3.0, outputs=1)

    def run(self, context: OperationContext) -> Iterator[Output]:
        params, source = context.params, context.inputs[0]
        picture = source.open()
        engine = _engine()
        mask = _mask(context, picture, engine)
        context.check()
        context.report(0.2, "repair")
        if params["result"] == "damage":
            yield _as_mask(mask, context)
            return

        from shopgen_django.imaging.repair import prepared_mask

        widen = int(params["widen"])
        hole = prepared_mask(mask, picture.size, widen=widen)
        if not hole.any() and params["find"] == "none":
            raise PermanentError(
                _("Nothing is marked as damaged. Paint over the damage, give a mask, or let it be looked for."),
                code="nothing_marked",
            )
        if hole.mean() > 0.6:
            raise PermanentError(
                _("The mask covers %(share)d %% of the picture; too little is left to repair it from. Is it inverted? "
                  "White is damage.") % {"share": round(100 * float(hole.mean()))},
                code="mask_too_large",
            )

        def check(share: float) -> None:
            context.check()
            context.report(0.2 + 0.7 * share, "repair")

        made = engine.fill(picture, hole, method=params["method"], feather=min(2, widen), check=check)
        yield Output(
            image=made.image, format=result_format(params["format"], source, made.image), alt_text=source.alt_text,
            category=source.category, parents=tuple(image.id for image in context.inputs),
            measurements={
                "repaired_share": made.share, "repaired_widest": made.widest, "repaired_textured": made.textured
            },
            held_back=_reason(made, picture, looked_for=params["find"] != "none"),
        )
        context.report(1.0, "repair")


def _engine() -> RepairEngine:
    try:
        engine = get_engine(ENGINE)
    except ImproperlyConfigured as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, RepairEngine):
        raise PermanentError(_("The engine %(name)s can't repair pictures.") % {"name": ENGINE}, code="wrong_engine")
    return engine


def _mask(context: OperationContext, picture: Image.Image, engine: RepairEngine) -> Image.Image:
    """What is damaged, of the picture's size: what was found, the given mask, and the strokes over both."""
    import numpy as np
    from PIL import Image as Pillow

    from shopgen_django.imaging.repair import prepared_mask

    params = context.params
    damage = np.zeros((picture.height, picture.width), dtype=bool)
    if params["find"] != "none":
        found = engine.find(
            picture, scratches=params["find"] in ("scratches", "all"), dust=params["find"] in ("dust", "all")
        )
        damage |= np.asarray(found) > 127
    if len(context.inputs) == 2:
        damage |= prepared_mask(context.inputs[1].open(), picture.size, widen=0)
    mask = Pillow.fromarray((damage * 255).astype(np.uint8))
    if params["strokes"]:
        mask = painted_strokes(params["strokes"], picture.size, keep=255, drop=0, over=mask)
    return mask


def _as_mask(mask: Image.Image, context: OperationContext) -> Output:
    import numpy as np

    source = context.inputs[0]
    return Output(
        image=mask, format="PNG", category=source.category, parents=(source.id,),
        alt_text=_("What was found to be damaged"),
        measurements={"damage_share": float((np.asarray(mask) > 127).mean())},
        held_back=_("This is a mask, no product picture: look at it, change it, and repair the photo with it."),
    )


def _reason(made: Repaired, picture: Image.Image, *, looked_for: bool) -> str:
    if made.share == 0.0:
        return _("No damage was found; the picture is as it was.")
    if made.share > MOST_SHARE:
        return _("A large part of the picture (%(share)d %%) was filled: it is a guess. Look closely.") % {
            "share": round(100 * made.share)
        }
    if made.widest > MOST_WIDTH * min(picture.size):
        return _("A wide hole (%(width)d pixels) was filled: what was there can't be known. Look closely.") % {
            "width": round(made.widest)
        }
    if looked_for:
        return _("What was repaired was found by itself and may have been print or a seam. Compare with the photo.")
    return ""
