"""``restyle``: a picture made anew after words, near to or far from what it was, by a large model."""

from __future__ import annotations

from collections.abc import Iterator

from django import forms
from django.utils.translation import gettext_lazy

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
    field_order = [
        "prompt", "negative", "strength", "count", "seed", "steps", "guidance", "scheduler", "loras",
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

    def run(self, context: OperationContext) -> Iterator[Output]:
        from PIL import Image

        from shopgen_django.imaging.cutout import on_white

        (source,) = context.inputs
        picture = on_white(source.open())
        size = working_size(picture.size, picture_engine().describe(self.task))
        # Never larger than the model works: what it did not paint is not there.
        share = min(1.0, (size[0] * size[1] / (picture.width * picture.height)) ** 0.5)
        final = max(1, round(picture.width * share)), max(1, round(picture.height * share))
        request = request_of(
            context, self.task, size, image=picture.resize(size, Image.Resampling.LANCZOS),
            strength=float(context.params["strength"]),
        )
        for made in make(context, request, self.name):
            image = made.image if made.image.size == final else made.image.resize(final, Image.Resampling.LANCZOS)
            yield output_of(
                context, made, image, alt_text=source.alt_text, category=source.category, parents=(source.id,)
            )
