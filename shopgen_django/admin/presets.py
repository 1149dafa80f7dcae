"""Presets: words for large models, written by the shop's own people."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.models import Preset
from shopgen_django.operations.presets import BUILT_IN, merged
from shopgen_django.operations.prompts import expand, known_placeholders

from .base import ShopgenAdmin

EXAMPLE = ("linen shirt", "Shirt")
"""What a preset is shown with: somebody's words, and a category."""


class PresetForm(forms.ModelForm):
    by_category = forms.CharField(
        label=gettext_lazy("Other words for some categories"), required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
        help_text=gettext_lazy("One a line, for example: Shoes: {words} on wet asphalt, dramatic light"),
    )

    class Meta:
        model = Preset
        fields = ("label", "label_zh", "name", "prompt", "negative", "by_category")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        saved = self.instance.by_category or {}
        self.initial["by_category"] = "\n".join(f"{name}: {words}" for name, words in saved.items())

    def clean_prompt(self) -> str:
        return known_placeholders(str(self.cleaned_data["prompt"]), "words")

    def clean_negative(self) -> str:
        return known_placeholders(str(self.cleaned_data["negative"]))

    def clean_by_category(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in filter(str.strip, str(self.cleaned_data["by_category"]).splitlines()):
            name, colon, words = (part.strip() for part in line.partition(":"))
            if not (name and colon and words):
                raise ValidationError(
                    _("Each line is a category, a colon and its words: %(line)s") % {"line": line[:60]}
                )
            found[name] = known_placeholders(words, "words")
        return found


@admin.register(Preset)
class PresetAdmin(ShopgenAdmin):
    """Each verb has Django's own permission for it."""

    form = PresetForm
    list_display = ["own_label", "name", "example", "updated_at"]
    search_fields = ["name", "label"]
    ordering = ["label", "name"]
    prepopulated_fields = {"name": ("label",)}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "add_preset")

    @admin.display(description=gettext_lazy("label"), ordering="label")
    def own_label(self, row: Preset) -> str:
        return row.own_label

    @admin.display(description=gettext_lazy("for example"))
    def example(self, row: Preset) -> str:
        return example_of({"prompt": row.prompt, "negative": row.negative, "by_category": row.by_category})

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        taken = set(Preset.objects.values_list("name", flat=True))
        built_in = [(preset.label, preset.name, example_of(preset.words())) for preset in BUILT_IN.values()
                    if preset.name not in taken]  # fmt: skip
        return super().changelist_view(request, {"built_in": built_in, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """``?copy=NAME``: a built-in preset to begin with."""
        preset = BUILT_IN.get(request.GET.get("copy", ""))
        if preset is None:
            return {}
        return {"label": str(preset.label), "name": preset.name, "prompt": preset.prompt, "negative": preset.negative}

    def save_model(self, request: HttpRequest, obj: Preset, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)


def example_of(words: dict[str, Any]) -> str:
    """The words as a model would get them for a product."""
    title, category = EXAMPLE
    prompt, _negative = merged(words, "{title}", "", category)
    return expand(prompt, title=title, category=category)
