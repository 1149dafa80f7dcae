"""``fit``: bring a picture to the sizes that sales channels ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidParameters

from .base import Estimate, InputImage, Operation, OperationContext, Output, Text
from .cutting import ENGINE, cut
from .parameters import ColourField, Parameters
from .registry import register

if TYPE_CHECKING:
    from PIL import Image

_SURE_CUT_OUT = 0.5
USUAL_MARGIN = 0.075
"""Leaves a product 85 percent of the side, as marketplaces ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSize:
    """A size in pixels that channels ask for."""

    width: int
    height: int
    label: Text
    margin: float = USUAL_MARGIN
    """Share of each side that the channel likes to see free around a product."""


CHANNEL_SIZES: Mapping[str, ChannelSize] = {
    "square_1000": ChannelSize(width=1000, height=1000, label=gettext_lazy("Marketplace, square (1000 × 1000)")),
    "square_2000": ChannelSize(width=2000, height=2000, label=gettext_lazy("Marketplace with zoom (2000 × 2000)")),
    "shop_zoom_2048": ChannelSize(
        width=2048, height=2048, label=gettext_lazy("Shop page with zoom (2048 × 2048)"), margin=0.05
    ),
    "portrait_1080x1350": ChannelSize(width=1080, height=1350, label=gettext_lazy("Social feed, 4:5 (1080 × 1350)")),
    "story_1080x1920": ChannelSize(
        width=1080, height=1920, label=gettext_lazy("Story, 9:16 (1080 × 1920)"), margin=0.12
    ),
    "landscape_1200x628": ChannelSize(
        width=1200, height=628, label=gettext_lazy("Link preview and landscape advertisement (1200 × 628)")
    ),
    "thumbnail_400": ChannelSize(width=400, height=400, label=gettext_lazy("Thumbnail (400 × 400)"), margin=0.04),
}
CUSTOM = "custom"


def _size_choices() -> list[tuple[str, Any]]:
    return [(name, size.label) for name, size in CHANNEL_SIZES.items()] + [
        (CUSTOM, gettext_lazy("Width and height given below"))
    ]


class FitParameters(Parameters):
    sizes = forms.MultipleChoiceField(
        label=gettext_lazy("Sizes"),
        choices=_size_choices(),
        initial=["square_1000"],
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("One picture is made for each."),
    )
    width = forms.IntegerField(
        label=gettext_lazy("Width"), min_value=16, max_value=4096, required=False, help_text=gettext_lazy("In pixels.")
    )
    height = forms.IntegerField(
        label=gettext_lazy("Height"), min_value=16, max_value=4096, required=False, help_text=gettext_lazy("In pixels.")
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("How"),
        choices=[
            ("pad", gettext_lazy("Show all of the picture and fill the rest")),
            ("crop", gettext_lazy("Fill the size and cut off what stands out")),
            ("resize", gettext_lazy("As large as fits, without filling")),
            ("frame", gettext_lazy("Around the product, with the margin that the channel likes")),
        ],
        initial="pad",
    )
    background = forms.ChoiceField(
        label=gettext_lazy("Background"),
        choices=[
            ("auto", gettext_lazy("The colour at the edge of the picture")),
            ("colour", gettext_lazy("The colour given below")),
            ("transparent", gettext_lazy("Transparent")),
        ],
        initial="auto",
        help_text=gettext_lazy("What fills the space that the picture leaves."),
    )
    colour = ColourField(label=gettext_lazy("Colour"), initial="#ffffff")
    margin = forms.FloatField(
        label=gettext_lazy("Margin"), min_value=0, max_value=0.45, initial=0.0,
        help_text=gettext_lazy(
            "Share of each side that stays free when filling: 0.05 is 5 percent. Around the product, 0 is the "
            "channel’s own."
        ),
    )
    focus = forms.ChoiceField(
        label=gettext_lazy("Keep when cutting"),
        choices=[
            ("product", gettext_lazy("The product, when it can be found, else the middle")),
            ("centre", gettext_lazy("The middle")),
            ("point", gettext_lazy("The point given below")),
        ],
        initial="product",
    )
    focus_x = forms.FloatField(
        label=gettext_lazy("Point from the left"), min_value=0, max_value=1, initial=0.5,
        help_text=gettext_lazy("0: left edge, 1: right edge."),
    )
    focus_y = forms.FloatField(
        label=gettext_lazy("Point from the top"), min_value=0, max_value=1, initial=0.5,
        help_text=gettext_lazy("0: top edge, 1: bottom edge."),
    )
    max_upscale = forms.FloatField(
        label=gettext_lazy("Largest enlargement"), min_value=1, max_value=4, initial=2.0,
        help_text=gettext_lazy("A smaller picture is not enlarged further than this; more space stays free instead."),
    )
    format = forms.ChoiceField(
        label=gettext_lazy("File type"),
        choices=[
            ("auto", gettext_lazy("JPEG, or PNG when something is transparent")),
            ("JPEG", "JPEG"),
            ("PNG", "PNG"),
            ("WEBP", "WebP"),
        ],
        initial="auto",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = dict(super().clean() or {})
        if CUSTOM in cleaned.get("sizes", ()):
            for name in ("width", "height"):
                if cleaned.get(name) is None and name not in self.errors:
                    self.add_error(name, _("Give a width and a height for a size of your own."))
        if cleaned.get("background") == "transparent" and cleaned.get("format") == "JPEG":
            self.add_error("format", _("A JPEG cannot be transparent. Choose PNG or WebP, or another background."))
        return cleaned


@register
class Fit(Operation):
    name = "fit"
    label = gettext_lazy("Fit to channel sizes")
    description = gettext_lazy("Crops, pads or resizes a picture to the sizes that sales channels ask for.")
    Parameters = FitParameters
    engines = (ENGINE,)
    min_inputs = 1
    max_inputs = 1

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        outputs = len(params["sizes"]) * max(1, inputs)
        return Estimate(seconds=0.5 * outputs, outputs=outputs)

    def run(self, context: OperationContext) -> Iterator[Output]:
        from shopgen_django.imaging.geometry import WHOLE, fit

        params = context.params
        (source,) = context.inputs
        picture = source.open()
        sizes = [_pixels(name, params) for name in params["sizes"]]
        mode, subject, doubt = params["mode"], None, ""
        focus = _focus(context, picture) if mode == "crop" else (0.5, 0.5)
        if mode == "frame":
            subject, doubt = _subject(context, picture)
            mode = "frame" if subject else "pad"
        for number, (name, (width, height)) in enumerate(zip(params["sizes"], sizes, strict=True), start=1):
            context.check()
            fitted = fit(
                picture, width=width, height=height, mode=mode, background=_background(params),
                margin=_margin(name, params), max_upscale=float(params["max_upscale"]), focus=focus,
                subject=subject or WHOLE,
            )
            yield _output(fitted, source, params, held_back=doubt)
            context.report(number / len(sizes), "fit")


def _pixels(name: str, params: Mapping[str, Any]) -> tuple[int, int]:
    if name == CUSTOM:
        return int(params["width"]), int(params["height"])
    size = CHANNEL_SIZES.get(name)
    if size is None:
        # Parameters are validated when a job is queued; a later release may have dropped a size since.
        raise InvalidParameters(_("There is no size %(name)s any more.") % {"name": name})
    return size.width, size.height


def _background(params: Mapping[str, Any]) -> tuple[int, int, int] | Literal["auto"] | None:
    if params["background"] == "transparent":
        return None
    if params["background"] == "auto":
        return "auto"
    red, green, blue = bytes.fromhex(params["colour"].removeprefix("#"))
    return red, green, blue


def _margin(name: str, params: Mapping[str, Any]) -> float:
    """As asked for; around the product, 0 stands for what the channel likes."""
    margin = float(params["margin"])
    if params["mode"] != "frame" or margin:
        return margin
    size = CHANNEL_SIZES.get(name)
    return USUAL_MARGIN if size is None else size.margin


def _product_box(context: OperationContext, picture: Image.Image) -> tuple[int, int, int, int] | None:
    """The box around the product in pixels; ``None`` when it wasn't found for sure."""
    import numpy as np

    if min(picture.size) < 8:
        return None
    found = cut(context, picture)
    rows, columns = np.nonzero(found.alpha > 127)
    if found.confidence < _SURE_CUT_OUT or not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _subject(context: OperationContext, picture: Image.Image) -> tuple[tuple[float, float, float, float] | None, str]:
    """The product's box as shares of the picture, or ``None`` and why the result should be looked at."""
    box = _product_box(context, picture)
    if box is None:
        return None, _("The product was not found for sure, so the picture is shown whole. Look whether that will do.")
    left, top, right, bottom = box
    return (left / picture.width, top / picture.height, right / picture.width, bottom / picture.height), ""


def _focus(context: OperationContext, picture: Image.Image) -> tuple[float, float]:
    """The point that a crop keeps, as shares of width and height."""
    params = context.params
    if params["focus"] == "point":
        return float(params["focus_x"]), float(params["focus_y"])
    box = _product_box(context, picture) if params["focus"] == "product" else None
    if box is not None:
        # The middle of the product's box, not its centre of mass: a crop must hold both sleeves.
        return (box[0] + box[2]) / 2 / picture.width, (box[1] + box[3]) / 2 / picture.height
    return 0.5, 0.5


def _output(
    fitted: Image.Image, source: InputImage, params: Mapping[str, Any], *, held_back: str = ""
) -> Output:
    kind = params["format"]
    if kind == "auto":
        kind = "PNG" if fitted.mode == "RGBA" else "JPEG"
    elif kind == "JPEG" and fitted.mode == "RGBA":
        # Only "resize" leaves transparency here; a JPEG shows it on the background that was asked for.
        fitted = _flattened(fitted, params)
    return Output(
        image=fitted, format=kind, alt_text=source.alt_text, category=source.category, parents=(source.id,),
        held_back=held_back,
    )


def _flattened(picture: Image.Image, params: Mapping[str, Any]) -> Image.Image:
    from shopgen_django.imaging.geometry import fit

    ground = _background(params) or "auto"
    return fit(picture, width=picture.width, height=picture.height, mode="pad", background=ground)
