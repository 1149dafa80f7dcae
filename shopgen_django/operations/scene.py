"""``scene``: new surroundings, made by words, around the product itself, whose own pixels are laid over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import PermanentError

from .base import OperationContext, Output
from .cutting import ENGINE as CUTOUT
from .cutting import CutParameters, cut, doubt_in_words, facts_of_cut, figures
from .diffusion import ENGINE, FORMATS, WordsOperation, make, output_of, picture_engine, request_of, working_size
from .prompts import PromptParameters
from .registry import register

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.engines.pictures import PictureRequest
    from shopgen_django.imaging.cutout import CutOut

NEUTRAL = (190, 188, 185)
"""What stands in for the surroundings until they are made: they are forgotten, but edges keep a trace of them."""


class SceneParameters(PromptParameters, CutParameters):
    format = forms.ChoiceField(
        label=gettext_lazy("File type"), choices=FORMATS, initial="PNG",
        help_text=gettext_lazy("PNG keeps the product's bytes; the others are smaller and change all pixels a little."),
    )
    field_order = [
        "prompt", "preset", "negative", "reference", "reference_weight", "count", "seed", "steps", "guidance",
        "scheduler", "loras", "format", "sure", "box", "strokes",
    ]


@register
class Scene(WordsOperation):
    name = "scene"
    label = gettext_lazy("New surroundings")
    description = gettext_lazy(
        "Cuts the product out and makes surroundings for it after words. The product itself stays as it is."
    )
    Parameters = SceneParameters
    engines = (CUTOUT, ENGINE)
    min_inputs = 1
    max_inputs = 1
    digital_source = "compositeWithTrainedAlgorithmicMedia"
    task = "inpaint"

    def run(self, context: OperationContext) -> Iterator[Output]:
        from PIL import Image

        from shopgen_django.imaging.background import Ground, on_ground

        (source,) = context.inputs
        found = cut(context, source.open())
        context.report(0.05, "cut_out")
        if not found.alpha.any():
            raise PermanentError(
                _("No product was found in the picture. Mark it with the brush, or use another photo."),
                code="no_product",
            )
        product, cut_by = found.picture(), facts_of_cut()
        for made in make(context, self._request(context, found, product), self.name, began=0.1):
            ground = Ground(kind="photo", photo=made.image.resize(product.size, Image.Resampling.LANCZOS))
            yield output_of(
                context, made, on_ground(product, ground, check=context.check), format=context.params["format"],
                alt_text=source.alt_text, category=source.category, parents=(source.id,), measurements=figures(found),
                held_back=doubt_in_words(found, float(context.params["sure"])), facts={**made.facts, **cut_by},
            )

    def _request(self, context: OperationContext, found: CutOut, product: Image.Image) -> PictureRequest:
        """Everything but the solid product is made; under its soft edges as well, so that they mix with what is new."""
        from PIL import Image

        from shopgen_django.imaging.background import Ground, on_ground
        from shopgen_django.imaging.repaint import hard_mask

        size = working_size(product.size, picture_engine().describe(self.task))
        mask = Image.fromarray((found.alpha < 255).astype("uint8") * 255, "L")
        return request_of(
            context, self.task, size,
            image=on_ground(product, Ground(colour=NEUTRAL), check=context.check).resize(
                size, Image.Resampling.LANCZOS
            ),
            mask=hard_mask(mask, size), strength=1.0,
        )
