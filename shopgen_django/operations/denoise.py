"""``denoise``: grain of cameras and blocks of JPEGs out of a photo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines import get_engine
from shopgen_django.engines.denoise import DenoiseEngine
from shopgen_django.exceptions import PermanentError

from .base import Estimate, Operation, OperationContext, Output
from .parameters import Parameters
from .registry import register
from .results import FormatField, result_format

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.detail import Kept

ENGINE = "denoise"
LEAST_TEXTURE = 0.5
LEAST_EDGES = 0.95


class DenoiseParameters(Parameters):
    level = forms.FloatField(
        label=gettext_lazy("Noise"), min_value=0, max_value=75, required=False,
        help_text=gettext_lazy(
            "Standard deviation on the scale 0 to 255: 5 is a little grain, 25 a lot. Empty: it is found out, and a "
            "clean photo is left alone."
        ),
    )
    strength = forms.FloatField(
        label=gettext_lazy("Strength"), min_value=0, max_value=1, initial=0.9,
        help_text=gettext_lazy("1 takes out all that is found; a little less keeps some grain and looks more natural."),
    )
    format = FormatField()


@register
class DenoisePicture(Operation):
    name = "denoise"
    label = gettext_lazy("Remove noise")
    description = gettext_lazy("Takes the grain of cameras and the blocks of JPEGs out of a photo.")
    Parameters = DenoiseParameters
    engines = (ENGINE,)
    model_purpose = "denoise"
    model_optional = True
    min_inputs = 1
    max_inputs = 1
    accelerated = True

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=3.0, outputs=1)

    def run(self, context: OperationContext) -> Iterator[Output]:
        params = context.params
        (source,) = context.inputs
        picture = source.open()
        if min(picture.size) < 8:
            raise PermanentError(_("The picture is too small for this."), code="too_small")

        def on_part(share: float) -> None:
            context.check()
            context.report(0.9 * share, "denoise")

        found = _engine().denoise(
            picture, level=params["level"], strength=float(params["strength"]), model=context.model,
            threads=context.threads, device=context.device, on_part=on_part,
        )
        measurements = {"noise": found.level, "noise_coloured": found.coloured, "changed": float(found.changed)}
        held_back = ""
        if found.changed:
            kept = _kept(picture, found.image)
            measurements |= {"edges_kept": kept.edges, "texture_kept": kept.texture}
            held_back = _reason(kept)
        yield Output(
            image=found.image, format=result_format(params["format"], source, found.image), alt_text=source.alt_text,
            category=source.category, parents=(source.id,), measurements=measurements, held_back=held_back,
        )
        context.report(1.0, "denoise")


def _engine() -> DenoiseEngine:
    try:
        engine = get_engine(ENGINE)
    except ImproperlyConfigured as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, DenoiseEngine):
        raise PermanentError(_("The engine %(name)s can't remove noise.") % {"name": ENGINE}, code="wrong_engine")
    return engine


def _kept(before: Image.Image, after: Image.Image) -> Kept:
    from shopgen_django.imaging.detail import kept_detail

    return kept_detail(before, after)


def _reason(kept: Kept) -> str:
    if kept.edges < LEAST_EDGES:
        return _(
            "Edges have changed (%(share)d %% alike): letters may read differently. Look closely, or use less strength."
        ) % {"share": round(100 * kept.edges)}
    if kept.texture < LEAST_TEXTURE:
        return _(
            "Much of the fine detail is gone (%(share)d %% left). Look closely, or use less strength."
        ) % {"share": round(100 * kept.texture)}
    return ""
