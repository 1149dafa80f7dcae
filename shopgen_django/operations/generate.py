"""``generate``: new product pictures from the shop's own trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines import get_engine
from shopgen_django.engines.base import GeneratorEngine
from shopgen_django.exceptions import PermanentError

from .base import Estimate, Operation, OperationContext, Output
from .parameters import Parameters
from .registry import register


class GenerateParameters(Parameters):
    category = forms.CharField(
        label=gettext_lazy("Category"),
        required=False,
        max_length=100,
        help_text=gettext_lazy(
            "One of the categories that the model was trained on; empty: the product's own, else any of them."
        ),
    )
    count = forms.IntegerField(
        label=gettext_lazy("How many"), min_value=1, max_value=64, initial=4,
        help_text=gettext_lazy("Number of pictures to make."),
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"), min_value=0, max_value=2**31 - 1, required=False,
        help_text=gettext_lazy("The same seed makes the same pictures; empty: a new one each time."),
    )
    truncation = forms.FloatField(
        label=gettext_lazy("Truncation"), min_value=0.1, max_value=1.0, initial=0.8,
        help_text=gettext_lazy("Lower: more typical and more alike; 1: all the variety that the model has."),
    )
    output_size = forms.IntegerField(
        label=gettext_lazy("Enlarge to"), min_value=0, max_value=2048, initial=0, required=False,
        help_text=gettext_lazy("Side of the result in pixels, by plain resampling; 0: as the model makes it."),
    )

    def clean_output_size(self) -> int:
        return int(self.cleaned_data.get("output_size") or 0)


@register
class Generate(Operation):
    name = "generate"
    label = gettext_lazy("Generate pictures")
    description = gettext_lazy("New product pictures from the active model that was trained on the shop's photos.")
    Parameters = GenerateParameters
    accelerated = True
    model_purpose = "generate"
    digital_source = "trainedAlgorithmicMedia"

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        count = int(params["count"])
        return Estimate(seconds=2.0 + 0.1 * count, outputs=count)

    def run(self, context: OperationContext) -> Iterator[Output]:
        if context.model is None:
            raise PermanentError(
                _("There is no active model. Train one with manage.py train_gan --activate, then try again."),
                code="model_unavailable",
            )
        params = context.params
        category = params["category"] or context.category
        if context.model.categories and category and category not in context.model.categories:
            if params["category"]:
                raise PermanentError(
                    _("The model does not know the category %(name)s. It knows: %(known)s.")
                    % {"name": category, "known": ", ".join(context.model.categories)},
                    code="unknown_category",
                )
            category = ""
        if not context.model.categories:
            category = ""
        engine = get_engine(context.model.engine)
        if not isinstance(engine, GeneratorEngine):
            raise PermanentError(
                _("The engine %(name)s can't generate pictures.") % {"name": context.model.engine},
                code="wrong_engine",
            )
        seed = context.seed if params["seed"] is None else int(params["seed"])
        count = int(params["count"])
        pictures = engine.generate(
            model=context.model, count=count, category=category or None, seed=seed,
            truncation=float(params["truncation"]), device=context.device, threads=context.threads,
        )
        for number, (image, made_category) in enumerate(pictures, start=1):
            context.check()
            context.report(number / count, "generate")
            yield Output(
                image=_enlarged(image, int(params["output_size"] or 0)),
                category=made_category or category,
                alt_text=_("Generated picture: %(name)s") % {"name": context.product_title or made_category or category}
                if (context.product_title or made_category or category) else _("Generated picture"),
            )


def _enlarged(image: Any, size: int) -> Any:
    from PIL import Image

    if not size or max(image.size) >= size:
        return image
    scale = size / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
