"""Why a picture is rejected: reasons that come up every day, and room for another."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

PRESET_REASONS = (
    _("Shape is wrong or parts are missing"),
    _("Colours are wrong"),
    _("Blurred or too small"),
    _("Background is not clean"),
    _("Does not show this product"),
    _("Too much like another picture"),
)


class RejectForm(forms.Form):
    """One reason: a preset or the reviewer's own words (which win)."""

    preset = forms.ChoiceField(label=_("Reason"), required=False, widget=forms.RadioSelect)
    reason = forms.CharField(
        label=_("In your own words"), required=False, max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["preset"].choices = [(str(text), text) for text in PRESET_REASONS]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["reason"] = (cleaned.get("reason") or cleaned.get("preset") or "").strip()
        if not cleaned["reason"] and not self.errors:
            self.add_error("reason", _("Say why the pictures are rejected, or choose one of the reasons."))
        return cleaned
