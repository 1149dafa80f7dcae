"""``create``: new pictures from words, by a large model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines.errors import BadRequest
from shopgen_django.engines.pictures import Described
from shopgen_django.exceptions import InvalidParameters

from .base import OperationContext, Output
from .diffusion import WordsOperation, make, output_of, picture_engine, request_of
from .prompts import PromptParameters
from .registry import register


class CreateParameters(PromptParameters):
    width = forms.IntegerField(
        label=gettext_lazy("Width"), min_value=64, max_value=4096, required=False,
        help_text=gettext_lazy("In pixels. Empty: the size that the model was trained for, which it does best."),
    )
    height = forms.IntegerField(label=gettext_lazy("Height"), min_value=64, max_value=4096, required=False)
    field_order = [
        "prompt", "preset", "negative", "reference", "reference_weight", "count", "width", "height", "seed", "steps",
        "guidance", "scheduler", "loras",
    ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = dict(super().clean() or {})
        if (cleaned.get("width") is None) != (cleaned.get("height") is None) and not self.errors:
            self.add_error("height" if cleaned.get("width") else "width", _("Give both, a width and a height."))
        return cleaned


@register
class Create(WordsOperation):
    name = "create"
    label = gettext_lazy("Create from words")
    description = gettext_lazy("New pictures from a description, by the large model that the shop has configured.")
    Parameters = CreateParameters
    digital_source = "trainedAlgorithmicMedia"

    def clean_for(self, described: Described, params: dict[str, Any]) -> None:
        if params["width"] is None:
            return
        try:
            described.require_size(int(params["width"]), int(params["height"]))
        except BadRequest as error:
            raise InvalidParameters(str(error), fields={"width": [str(error)]}) from error

    def run(self, context: OperationContext) -> Iterator[Output]:
        params = context.params
        described = picture_engine().describe(self.task)
        size = described.size if params["width"] is None else (int(params["width"]), int(params["height"]))
        for picture in make(context, request_of(context, self.task, size), self.name):
            yield output_of(context, picture, picture.image)
