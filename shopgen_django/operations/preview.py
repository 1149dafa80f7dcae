"""``preview``: another operation's first result on a small copy of its input, for the person who sets it up.

Nothing of it becomes a picture of the shop: a small file under a name of its own, gone within a day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import PermanentError
from shopgen_django.storage import save_bytes

from .base import Estimate, InputImage, Operation, OperationContext, Output
from .parameters import Parameters
from .registry import get_operation, register

SIDE = 640
"""Longest side of the copy that is worked on, in pixels."""
SHOWN_SIDE = 1000
"""Longest side of what is shown."""


class PreviewParameters(Parameters):
    operation = forms.CharField(label=gettext_lazy("Operation"), max_length=64)
    params = forms.JSONField(label=gettext_lazy("Parameters"), required=False)
    place = forms.CharField(label=gettext_lazy("File"), max_length=100)


@register
class Preview(Operation):
    name = "preview"
    label = gettext_lazy("Preview")
    description = gettext_lazy("Tries settings on a small copy; nothing is kept.")
    Parameters = PreviewParameters
    hidden_params = ("params", "place")
    max_inputs = 20
    max_attempts = 1
    public = False

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=1.0, outputs=0)

    def demand(self, params: Mapping[str, Any], inputs: int) -> Mapping[str, int]:
        return get_operation(params["operation"]).demand(params["params"], inputs)

    def parts(self, params: Mapping[str, Any]) -> tuple[Operation, ...]:
        inner = get_operation(params["operation"])
        return (self, *inner.parts(params["params"]))

    def pictures(self, params: Mapping[str, Any]) -> dict[str, str]:
        return get_operation(params["operation"]).pictures(params["params"])

    def run(self, context: OperationContext) -> Iterator[Output]:
        inner, params = get_operation(context.params["operation"]), dict(context.params["params"])
        small = replace(context, params=params, inputs=tuple(_reduced(source) for source in context.inputs))
        made: Output | None = None
        for output in inner.run(small):
            context.check()
            made = output
            if not inner.is_chain:  # of a chain the last step is what people want to see
                break
        if made is None:
            raise PermanentError(_("Nothing came of it."), code="no_result")
        save_bytes(context.params["place"], _shown(made))
        yield from ()


def _reduced(source: InputImage) -> InputImage:
    from PIL import Image

    if max(source.width, source.height) <= SIDE:
        return source
    picture = Image.open(BytesIO(source.content), formats=("PNG", "JPEG", "WEBP"))
    picture.draft(picture.mode, (SIDE, SIDE))  # a JPEG is read at an eighth of its size where that suffices
    if picture.mode == "P":
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")  # type: ignore[assignment]
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    content = buffer.getvalue()
    return replace(
        source, content=content, sha256=hashlib.sha256(content).hexdigest(), width=picture.width, height=picture.height,
        format="PNG",
    )


def _shown(made: Output) -> bytes:
    """WebP; what the gate would say stands in its EXIF description."""
    from PIL import Image

    picture = made.image if made.image.mode in ("RGB", "RGBA") else made.image.convert(
        "RGBA" if made.image.has_transparency_data else "RGB"
    )
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    exif = Image.Exif()
    exif[0x010E] = json.dumps({"held_back": made.held_back})
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=88, exif=exif)
    return buffer.getvalue()


def held_back_in(content: bytes) -> str:
    """Why the result would be held back, from a file that :class:`Preview` has written; "" when it would not."""
    from PIL import Image

    with Image.open(BytesIO(content), formats=("WEBP",)) as picture:
        return str(json.loads(picture.getexif().get(0x010E, "{}")).get("held_back", ""))
