"""``restyle``: a picture made anew after words, near to or far from what it was, by a large model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines.pictures import Described
from shopgen_django.exceptions import InvalidParameters

from .base import OperationContext, Output
from .diffusion import WordsOperation, make, output_of, picture_engine, request_of, working_size
from .prompts import PromptParameters
from .registry import register


class RestyleParameters(PromptParameters):
    strength = forms.FloatField(
        label=gettext_lazy("Strength"), min_value=0.05, max_value=1, initial=0.5,
        help_text=gettext_lazy(
            "How far it may leave the picture: 0.3 changes light and surface, 0.6 shapes as well, 1 keeps nothing."
        ),
    )
    outlines = forms.FloatField(
        label=gettext_lazy("Hold to the outlines"), min_value=0, max_value=2, initial=0,
        help_text=gettext_lazy(
            "0: not at all; 1: the picture's edges stay where they are, also at full strength. Needs a ControlNet for "
            "edges in the settings."
        ),
    )
    field_order = [
        "prompt", "preset", "negative", "reference", "reference_weight", "strength", "outlines", "count", "seed",
        "steps", "guidance", "scheduler", "loras",
    ]


@register
class Restyle(WordsOperation):
    name = "restyle"
    label = gettext_lazy("Restyle")
    description = gettext_lazy("Makes the whole picture anew after words. The product changes with it.")
    Parameters = RestyleParameters
    min_inputs = 1
    max_inputs = 1
    digital_source = "trainedAlgorithmicMedia"
    task = "image"

    def clean_for(self, described: Described, params: dict[str, Any]) -> None:
        super().clean_for(described, params)
        if params["outlines"] and not described.outlines:
            text = _("This model can't be held to outlines: the option OUTLINES names no ControlNet for it.")
            raise InvalidParameters(text, fields={"outlines": [text]})

    def run(self, context: OperationContext) -> Iterator[Output]:
        from PIL import Image

        from shopgen_django.imaging.cutout import on_white
        from shopgen_django.imaging.edges import edges_of

        (source,) = context.inputs
        picture = on_white(source.open())
        size = working_size(picture.size, picture_engine().describe(self.task))
        # Never larger than the model works: what it did not paint is not there.
        share = min(1.0, (size[0] * size[1] / (picture.width * picture.height)) ** 0.5)
        final = max(1, round(picture.width * share)), max(1, round(picture.height * share))
        small = picture.resize(size, Image.Resampling.LANCZOS)
        request = request_of(
            context, self.task, size, image=small, strength=float(context.params["strength"])
        )
        weight = float(context.params["outlines"])
        if weight:
            request = replace(request, outlines=edges_of(small), outlines_weight=weight)
        for made in make(context, request, self.name):
            image = made.image if made.image.size == final else made.image.resize(final, Image.Resampling.LANCZOS)
            yield output_of(
                context, made, image, alt_text=source.alt_text, category=source.category, parents=(source.id,)
            )
