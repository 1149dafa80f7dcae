"""``correct``: light and colour put right, pictures straightened, flat goods seen from above, specks taken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import PermanentError

from .base import Estimate, InputImage, Operation, OperationContext, Output
from .marks import CornersField
from .parameters import Parameters
from .registry import register
from .results import FormatField, result_format

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.correcting import Light

MOST_CHANGE = 12.0
"""Mean CIEDE2000 on the product beyond which a person should compare: it is another colour then."""
MOST_PHOTOS = 50


class CorrectParameters(Parameters):
    balance = forms.ChoiceField(
        label=gettext_lazy("White balance"),
        choices=[
            ("auto", gettext_lazy("Take out a colour cast, but leave coloured grounds alone")),
            ("always", gettext_lazy("The ground is white or grey: make it so")),
            ("none", gettext_lazy("Leave the colours")),
        ],
        initial="auto",
    )
    exposure = forms.BooleanField(
        label=gettext_lazy("Brighten dark and flat pictures"), required=False, initial=True
    )
    straighten = forms.BooleanField(
        label=gettext_lazy("Level tilted lines"), required=False, initial=False,
        help_text=gettext_lazy("Turns by at most 8 degrees, and only when most lines agree."),
    )
    perspective = forms.ChoiceField(
        label=gettext_lazy("Flat goods"),
        choices=[
            ("none", gettext_lazy("Leave as it is")),
            ("auto", gettext_lazy("Find the four corners of a book, poster or pack, and show it from above")),
            ("corners", gettext_lazy("The corners given below")),
        ],
        initial="none",
    )
    corners = CornersField(
        label=gettext_lazy("Corners"), required=False,
        help_text=gettext_lazy("Four points [x, y] as shares of the picture, in order around the thing."),
    )
    dust = forms.BooleanField(label=gettext_lazy("Take specks off plain ground"), required=False, initial=False)
    format = FormatField()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = dict(super().clean() or {})
        if cleaned.get("perspective") == "corners" and not cleaned.get("corners") and "corners" not in self.errors:
            self.add_error("corners", _("Give the four corners."))
        return cleaned


@register
class Correct(Operation):
    name = "correct"
    label = gettext_lazy("Correct light and colour")
    description = gettext_lazy(
        "White balance, brightness, tilted lines, perspective of flat goods, dust. Several photos of one product get "
        "one look."
    )
    Parameters = CorrectParameters
    min_inputs = 1
    max_inputs = MOST_PHOTOS
    together = gettext_lazy("They are a series: all get one look")

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=1.0 * max(1, inputs), outputs=max(1, inputs))

    def run(self, context: OperationContext) -> Iterator[Output]:
        from shopgen_django.imaging.correcting import of_series

        params = context.params
        lights = []
        for source in context.inputs:
            context.check()
            lights.append(_light(source.open(), params))
        light = of_series(lights)
        for number, source in enumerate(context.inputs, start=1):
            context.check()
            yield _corrected(source, light, params)
            context.report(number / len(context.inputs), "correct")


def _light(picture: Image.Image, params: Mapping[str, Any]) -> Light:
    from shopgen_django.imaging.correcting import find_light

    return find_light(
        picture, balance=params["balance"] != "none", exposure=bool(params["exposure"]),
        coloured=params["balance"] == "always",
    )


def _corrected(source: InputImage, light: Light, params: Mapping[str, Any]) -> Output:
    from shopgen_django.imaging.correcting import apply, colour_change

    picture = source.open()
    made = apply(picture, light)
    change = colour_change(picture, made)
    measurements = {
        "colour_change": change.mean, "colour_change_95": change.most, "exposure": light.exposure,
        "gain_red": light.gains[0], "gain_green": light.gains[1], "gain_blue": light.gains[2],
    }
    made, moved = _geometry(made, params)
    measurements |= moved
    if params["dust"]:
        made, share = _without_dust(made)
        measurements["dust_share"] = share
    return Output(
        image=made, format=result_format(params["format"], source, made), alt_text=source.alt_text,
        category=source.category, parents=(source.id,), measurements=measurements,
        held_back=_reason(change.mean, params, moved),
    )


def _geometry(picture: Image.Image, params: Mapping[str, Any]) -> tuple[Image.Image, dict[str, float]]:
    from shopgen_django.imaging.straightening import find_angle, find_corners, ordered, rectified, turned

    measurements: dict[str, float] = {}
    if params["straighten"]:
        angle = find_angle(picture)
        picture, measurements["turned_degrees"] = turned(picture, angle, _ground(picture)), angle
    corners: Sequence[Sequence[float]] | None = None
    if params["perspective"] == "corners":
        corners = params["corners"]
    elif params["perspective"] == "auto":
        corners = find_corners(picture)
        measurements["corners_found"] = float(corners is not None)
    if corners is not None:
        try:
            picture = rectified(picture, ordered([(float(x), float(y)) for x, y in corners]))
        except ValueError as error:
            raise PermanentError(
                _("The four corners must be those of one flat thing, none of them inside the other three."),
                code="wrong_corners",
            ) from error
    return picture, measurements


def _ground(picture: Image.Image) -> tuple[int, int, int]:
    from shopgen_django.imaging.geometry import edge_colour

    return edge_colour(picture)


def _without_dust(picture: Image.Image) -> tuple[Image.Image, float]:
    from shopgen_django.imaging.repair import fill, find_damage, prepared_mask

    hole = prepared_mask(find_damage(picture, scratches=False), picture.size, widen=2)
    made = fill(picture, hole, method="smooth", feather=2)
    return made.image, made.share


def _reason(change: float, params: Mapping[str, Any], moved: Mapping[str, float]) -> str:
    if change > MOST_CHANGE:
        return _("The colours have moved far (a difference of %(change).0f): compare them with the product.") % {
            "change": change
        }
    if params["perspective"] == "auto" and not moved.get("corners_found"):
        return _("No flat thing with four corners was found. Give the corners by hand.")
    return ""
