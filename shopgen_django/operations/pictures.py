"""Pictures that parameters name, beside the inputs of a job: a picture to resemble, for example.

A field (``PictureField``) holds the id of one of the shop's pictures. Whether there is such a picture,
and whether it may be used, is asked by the service that queues the job; it becomes one of the job's pictures, so that
it is kept and in the lineage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidParameters

from .base import InputImage, OperationContext
from .parameters import Parameters, PictureField

REFERENCE = "reference"


class ReferenceParameters(Parameters):
    """Fields for everything that a large model can make after the look of a picture."""

    reference = PictureField(
        label=gettext_lazy("Reference picture"), required=False,
        help_text=gettext_lazy(
            "One of the shop's pictures whose look is followed beside the words: colours, material, style. Needs an "
            "IP-Adapter in the settings."
        ),
    )
    reference_weight = forms.FloatField(
        label=gettext_lazy("Follow the reference"), min_value=0, max_value=1, initial=0.6,
        help_text=gettext_lazy("0: not at all; 0.6: its look; 1: as closely as possible, the words count less."),
    )


def wants_reference(params: Mapping[str, Any]) -> bool:
    """Whether parameters ask for a reference picture that counts."""
    return bool(params.get(REFERENCE)) and float(params.get("reference_weight") or 0.0) > 0


def reference_of(context: OperationContext) -> InputImage | None:
    """The picture that the parameters name, if it counts.

    Raises InvalidParameters where it isn't at hand: files that are worked on without the shop have no pictures beside
    them.
    """
    if not wants_reference(context.params):
        return None
    found = context.pictures.get(str(context.params[REFERENCE]))
    if found is None:
        text = _("The reference picture is not at hand. It is one of the shop's pictures, so that only jobs have it.")
        raise InvalidParameters(text, fields={REFERENCE: [text]})
    return found
