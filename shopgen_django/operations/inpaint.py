"""``inpaint``: the marked part of a picture painted anew after words; everything else keeps every byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines.errors import BadRequest

from .base import OperationContext, Output
from .diffusion import FORMATS, WordsOperation, make, output_of, picture_engine, request_of, working_size
from .marks import StrokesField, painted_strokes
from .prompts import PromptParameters
from .registry import register

if TYPE_CHECKING:
    from PIL import Image


class InpaintParameters(PromptParameters):
    strokes = StrokesField(
        label=gettext_lazy("What to paint anew"), required=False,
        words=(gettext_lazy("made anew"), gettext_lazy("stays as it is")),
        help_text=gettext_lazy(
            'A list of {"keep": true or false, "radius": share of the side, "points": [[x, y], …]}: true marks what is '
            "made anew, false takes some of it back. Empty: the second picture is the mask, white is made anew."
        ),
    )
    strength = forms.FloatField(
        label=gettext_lazy("Strength"), min_value=0.05, max_value=1, initial=1.0,
        help_text=gettext_lazy("1 forgets what was there; less keeps some of its shapes and colours."),
    )
    room = forms.FloatField(
        label=gettext_lazy("Surroundings"), min_value=0, max_value=4, initial=0.5,
        help_text=gettext_lazy(
            "How much around the marked part the model sees, as a share of the part's size: less is finer, more fits "
            "better."
        ),
    )
    feather = forms.IntegerField(
        label=gettext_lazy("Soft seam"), min_value=0, max_value=200, initial=8,
        help_text=gettext_lazy("In pixels, inside the marked part; what lies outside keeps every byte."),
    )
    format = forms.ChoiceField(
        label=gettext_lazy("File type"), choices=FORMATS, initial="PNG",
        help_text=gettext_lazy("PNG keeps every byte; the others are smaller and change all pixels a little."),
    )
    field_order = [
        "prompt", "preset", "negative", "reference", "reference_weight", "strokes", "strength", "room", "feather",
        "count", "seed", "steps", "guidance", "scheduler", "loras", "format",
    ]


@register
class Inpaint(WordsOperation):
    name = "inpaint"
    label = gettext_lazy("Paint a part anew")
    description = gettext_lazy("Makes the marked part of a picture anew after words and leaves all else as it is.")
    Parameters = InpaintParameters
    min_inputs = 1
    max_inputs = 2
    together = gettext_lazy("The newer picture is the mask of the older: white is made anew")
    second_is_mask = True
    digital_source = "compositeWithTrainedAlgorithmicMedia"
    task = "inpaint"

    def run(self, context: OperationContext) -> Iterator[Output]:
        from PIL import Image

        from shopgen_django.imaging.cutout import on_white
        from shopgen_django.imaging.repaint import box_around, hard_mask, laid_in

        source, params = context.inputs[0], context.params
        picture = on_white(source.open())
        mask = _mask(context, picture.size)
        described = picture_engine().describe(self.task)
        box = box_around(mask, room=float(params["room"]), least=described.size)
        if box is None:
            raise BadRequest(
                _("Nothing is marked, so there is nothing to paint anew. Mark it with the brush, or give a mask that "
                  "is white there."), code="nothing_marked",
            )
        part, marked = picture.crop(box), mask.crop(box)
        size = working_size(part.size, described)
        request = request_of(
            context, self.task, size, image=part.resize(size, Image.Resampling.LANCZOS),
            mask=hard_mask(marked, size), strength=float(params["strength"]),
        )
        for made in make(context, request, self.name):
            painted = made.image.resize(part.size, Image.Resampling.LANCZOS)
            result = laid_in(picture, painted, marked, place=box[:2], feather=float(params["feather"]))
            yield output_of(
                context, made, result, format=params["format"], alt_text=source.alt_text, category=source.category,
                parents=tuple(image.id for image in context.inputs),
                measurements={"repainted_share": sum(mask.histogram()[1:]) / (mask.width * mask.height)},
            )


def _mask(context: OperationContext, size: tuple[int, int]) -> Image.Image:
    """L, of the picture's size: 255 is painted anew. Raises BadRequest unless there are either strokes or a mask."""
    from shopgen_django.imaging.repaint import mask_of

    strokes = context.params["strokes"]
    if bool(strokes) == (len(context.inputs) == 2):
        raise BadRequest(
            _("Say what to paint anew: by strokes with one picture, or by a mask as the second picture."),
            code="nothing_marked",
        )
    if strokes:
        return painted_strokes(strokes, size, keep=255, drop=0)
    return mask_of(context.inputs[1].open(), size)
