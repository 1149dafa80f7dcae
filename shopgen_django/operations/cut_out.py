"""``cut_out``: the product alone, transparent or on plain ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .base import Estimate, Operation, OperationContext, Output
from .cutting import ENGINE, CutParameters, cut, doubt_in_words, facts_of_cut, figures
from .parameters import ColourField
from .registry import register


class CutOutParameters(CutParameters):
    output = forms.ChoiceField(
        label=gettext_lazy("Result"),
        choices=[
            ("transparent", gettext_lazy("Transparent")),
            ("white", gettext_lazy("On white")),
            ("colour", gettext_lazy("On a colour")),
        ],
        initial="transparent",
    )
    colour = ColourField(label=gettext_lazy("Colour"), initial="#ffffff")
    format = forms.ChoiceField(
        label=gettext_lazy("File type"),
        choices=[
            ("auto", gettext_lazy("PNG when transparent, else JPEG")),
            ("PNG", "PNG"),
            ("WEBP", "WebP"),
            ("JPEG", "JPEG"),
        ],
        initial="auto",
    )
    field_order = ["output", "colour", "format", "sure", "box", "strokes"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = dict(super().clean() or {})
        if cleaned.get("output") == "transparent" and cleaned.get("format") == "JPEG":
            self.add_error("format", _("A JPEG cannot be transparent. Choose PNG or WebP, or another result."))
        return cleaned


@register
class CutOutProduct(Operation):
    name = "cut_out"
    label = gettext_lazy("Cut out")
    description = gettext_lazy("Cuts the product out: transparent, on white, or on a colour.")
    Parameters = CutOutParameters
    engines = (ENGINE,)
    min_inputs = 1
    max_inputs = 1

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=1.5 * max(1, inputs), outputs=max(1, inputs))

    def run(self, context: OperationContext) -> Iterator[Output]:
        from shopgen_django.imaging.background import Ground, on_ground

        params = context.params
        (source,) = context.inputs
        picture = source.open()
        found = cut(context, picture)
        context.report(0.8, "cut_out")
        result = found.picture()
        if params["output"] != "transparent" and found.alpha.any():
            colour = "#ffffff" if params["output"] == "white" else params["colour"]
            red, green, blue = bytes.fromhex(colour.removeprefix("#"))
            result = on_ground(result, Ground(colour=(red, green, blue)), check=context.check)
        kind = params["format"]
        if kind == "auto":
            kind = "PNG" if result.mode == "RGBA" else "JPEG"
        elif kind == "JPEG" and result.mode == "RGBA":
            kind = "PNG"  # nothing was found: there is nothing to lay on a ground, and the result is held back
        yield Output(
            image=result, format=kind, alt_text=source.alt_text, category=source.category, parents=(source.id,),
            measurements=figures(found), held_back=_held_back(found, float(params["sure"])),
            facts=facts_of_cut(),
        )
        context.report(1.0, "cut_out")


def _held_back(found: Any, sure: float) -> str:
    if not found.alpha.any():
        return _("No product was found in the picture. Mark it with the brush, or use another photo.")
    return doubt_in_words(found, sure)
