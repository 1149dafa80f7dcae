"""The file type of a result, for operations that give a picture back as it came: one field, one rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from PIL import Image

    from .base import InputImage

SAME = "same"


class FormatField(forms.ChoiceField):
    """``same`` (as the photo's own), ``JPEG``, ``PNG`` or ``WEBP``."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", gettext_lazy("File type"))
        kwargs.setdefault("initial", SAME)
        kwargs.setdefault(
            "choices",
            [(SAME, gettext_lazy("Like the photo's")), ("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP")],
        )
        super().__init__(**kwargs)


def result_format(chosen: str, source: InputImage, picture: Image.Image) -> str:
    """The format to store: a transparent picture never becomes a JPEG, which would lose its transparency unsaid."""
    kind = source.format if chosen == SAME else chosen
    return "PNG" if kind == "JPEG" and picture.mode == "RGBA" else kind
