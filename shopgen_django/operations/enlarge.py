"""``enlarge``: a picture two or four times as wide and high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.conf import app_settings
from shopgen_django.engines import get_engine
from shopgen_django.engines.enlarge import EnlargeEngine
from shopgen_django.exceptions import PermanentError

from .base import Estimate, Operation, OperationContext, Output
from .parameters import Parameters
from .registry import register
from .results import FormatField, result_format

if TYPE_CHECKING:
    from PIL import Image

ENGINE = "enlarge"
SMALLEST = 128
FEWEST = 32
LEAST_EDGES = 0.95


class EnlargeParameters(Parameters):
    factor = forms.ChoiceField(
        label=gettext_lazy("How much"),
        choices=[("2", gettext_lazy("Twice as large")), ("4", gettext_lazy("Four times as large"))],
        initial="2",
    )
    careful = forms.BooleanField(
        label=gettext_lazy("Leave print as it is"), required=False, initial=True,
        help_text=gettext_lazy("Where letters may be, nothing is made crisper than the photo shows it."),
    )
    format = FormatField()


@register
class EnlargePicture(Operation):
    name = "enlarge"
    label = gettext_lazy("Enlarge")
    description = gettext_lazy("Makes a picture two or four times as large, without inventing what is not there.")
    Parameters = EnlargeParameters
    engines = (ENGINE,)
    min_inputs = 1
    max_inputs = 1

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=2.0 if params["factor"] == "2" else 8.0, outputs=1)

    def run(self, context: OperationContext) -> Iterator[Output]:
        params, factor = context.params, int(context.params["factor"])
        (source,) = context.inputs
        picture = source.open()
        _within_limits(picture, factor)

        def on_part(share: float) -> None:
            context.check()
            context.report(0.9 * share, "enlarge")

        made = _engine().enlarge(
            picture, factor=factor, careful=bool(params["careful"]), threads=context.threads, on_part=on_part
        )
        edges, back = _compared(picture, made)
        yield Output(
            image=made, format=result_format(params["format"], source, made), alt_text=source.alt_text,
            category=source.category, parents=(source.id,),
            measurements={"edges_kept": edges, "shrinks_back_psnr": back},
            held_back=_reason(picture, edges),
        )
        context.report(1.0, "enlarge")


def _within_limits(picture: Image.Image, factor: int) -> None:
    if min(picture.size) < FEWEST:
        raise PermanentError(
            _("The picture is too small to be enlarged: it needs at least %(least)d pixels a side.")
            % {"least": FEWEST},
            code="too_small",
        )
    most = int(app_settings.LIMITS["MAX_PIXELS"])
    pixels = picture.width * picture.height * factor * factor
    if pixels > most:
        raise PermanentError(
            _("The result would have %(pixels).0f megapixels; at most %(most).0f are allowed.")
            % {"pixels": pixels / 1e6, "most": most / 1e6},
            code="too_large",
        )


def _engine() -> EnlargeEngine:
    try:
        engine = get_engine(ENGINE)
    except ImproperlyConfigured as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, EnlargeEngine):
        raise PermanentError(_("The engine %(name)s can't enlarge pictures.") % {"name": ENGINE}, code="wrong_engine")
    return engine


def _compared(before: Image.Image, after: Image.Image) -> tuple[float, float]:
    """What the result says of the photo: edges alike (0..1), and PSNR (dB, at most 99) when it is shrunk back."""
    import numpy as np

    from shopgen_django.imaging.detail import kept_detail

    small = after.reduce(after.width // before.width)
    one, other = (np.asarray(each.convert("RGB"), dtype=np.float32) for each in (before, small))
    error = float(np.square(one - other).mean())
    if before.mode == "RGBA":
        opaque = np.asarray(before.getchannel("A")) == 255
        error = float(np.square(one - other)[opaque].mean()) if opaque.any() else 0.0
    return kept_detail(before, small).edges, float(min(99.0, 10.0 * np.log10(255.0**2 / max(error, 1e-9))))


def _reason(picture: Image.Image, edges: float) -> str:
    if min(picture.size) < SMALLEST:
        return _("The photo is very small (%(width)d × %(height)d): look closely at what was made of it.") % {
            "width": picture.width, "height": picture.height
        }
    if edges < LEAST_EDGES:
        return _("Edges have changed (%(share)d %% alike): letters may read differently. Look closely.") % {
            "share": round(100 * edges)
        }
    return ""
