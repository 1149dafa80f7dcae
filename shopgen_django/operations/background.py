"""``background``: the product on a new ground, with a shadow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import PermanentError

from .base import Estimate, Operation, OperationContext, Output
from .cutting import ENGINE, CutParameters, cut, doubt_in_words, facts_of_cut, figures
from .parameters import ColourField
from .registry import register

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.background import Ground, Placing


class BackgroundParameters(CutParameters):
    ground = forms.ChoiceField(
        label=gettext_lazy("Ground"),
        choices=[
            ("white", gettext_lazy("Pure white")),
            ("colour", gettext_lazy("A colour")),
            ("gradient", gettext_lazy("A gradient from one colour to another")),
            ("sweep", gettext_lazy("Studio: curved paper in a colour")),
            ("photo", gettext_lazy("A photo: the second picture")),
        ],
        initial="white",
    )
    colour = ColourField(label=gettext_lazy("Colour"), initial="#f2f2f2")
    second_colour = ColourField(label=gettext_lazy("Second colour"), initial="#d9d9d9")
    shadow = forms.ChoiceField(
        label=gettext_lazy("Shadow"),
        choices=[
            ("none", gettext_lazy("None")),
            ("keep", gettext_lazy("The photo's own")),
            ("contact", gettext_lazy("A made one, close to the product")),
            ("soft", gettext_lazy("A made one, close and wide")),
        ],
        initial="none",
    )
    shadow_strength = forms.FloatField(
        label=gettext_lazy("Strength of the shadow"), min_value=0, max_value=1, initial=0.3
    )
    width = forms.IntegerField(
        label=gettext_lazy("Width"), min_value=16, max_value=8192, required=False,
        help_text=gettext_lazy("In pixels. Empty: the picture keeps its size, and the product its place."),
    )
    height = forms.IntegerField(label=gettext_lazy("Height"), min_value=16, max_value=8192, required=False)
    margin = forms.FloatField(
        label=gettext_lazy("Margin"), min_value=0, max_value=0.45, initial=0.08,
        help_text=gettext_lazy("With a width and height: share of the shorter side left free around the product."),
    )
    align = forms.ChoiceField(
        label=gettext_lazy("Place"),
        choices=[("middle", gettext_lazy("In the middle")), ("stand", gettext_lazy("Standing on the lower margin"))],
        initial="middle",
    )
    max_upscale = forms.FloatField(
        label=gettext_lazy("Largest enlargement"), min_value=1, max_value=8, initial=2.0,
        help_text=gettext_lazy("A smaller product is not enlarged further than this; more space stays free instead."),
    )
    format = forms.ChoiceField(
        label=gettext_lazy("File type"), choices=[("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP")], initial="JPEG"
    )
    field_order = [
        "ground", "colour", "second_colour", "shadow", "shadow_strength", "width", "height", "margin", "align",
        "max_upscale", "format", "sure", "box", "strokes",
    ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = dict(super().clean() or {})
        if (cleaned.get("width") is None) != (cleaned.get("height") is None) and not self.errors:
            self.add_error("height" if cleaned.get("width") else "width", _("Give both, a width and a height."))
        return cleaned


@register
class Background(Operation):
    name = "background"
    label = gettext_lazy("New background")
    description = gettext_lazy("Cuts the product out and lays it on white, a colour, a studio ground or a photo.")
    Parameters = BackgroundParameters
    engines = (ENGINE,)
    min_inputs = 1
    max_inputs = 2
    digital_source = "compositeCapture"

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=2.5, outputs=1)

    def run(self, context: OperationContext) -> Iterator[Output]:
        from shopgen_django.imaging.background import Shadow, on_ground
        from shopgen_django.imaging.cutout import on_white

        params, source = context.params, context.inputs[0]
        if (params["ground"] == "photo") != (len(context.inputs) == 2):
            raise PermanentError(
                _("A ground of your own is a second picture: give two for the ground “photo”, and one otherwise."),
                code="invalid_parameters",
            )
        picture = source.open()
        found = cut(context, picture)
        context.report(0.6, "cut_out")
        if not found.alpha.any():
            raise PermanentError(
                _("No product was found in the picture. Mark it with the brush, or use another photo."),
                code="no_product",
            )
        result = on_ground(
            found.picture(), _ground(params, context),
            shadow=Shadow(kind=params["shadow"], strength=float(params["shadow_strength"])),
            placing=_placing(params), photo=on_white(picture), check=context.check,
        )
        yield Output(
            image=result, format=params["format"], alt_text=source.alt_text, category=source.category,
            parents=tuple(image.id for image in context.inputs), measurements=figures(found),
            held_back=doubt_in_words(found, float(params["sure"])), facts=facts_of_cut(),
        )
        context.report(1.0, "background")


def _ground(params: Mapping[str, Any], context: OperationContext) -> Ground:
    from shopgen_django.imaging.background import WHITE, Ground

    kind = params["ground"]
    if kind == "white":
        return Ground(colour=WHITE)
    photo: Image.Image | None = context.inputs[1].open() if kind == "photo" else None
    return Ground(kind=kind, colour=_rgb(params["colour"]), second=_rgb(params["second_colour"]), photo=photo)


def _placing(params: Mapping[str, Any]) -> Placing:
    from shopgen_django.imaging.background import Placing

    size = None if params["width"] is None else (int(params["width"]), int(params["height"]))
    return Placing(
        size=size, margin=float(params["margin"]), stand=params["align"] == "stand",
        max_upscale=float(params["max_upscale"]),
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
