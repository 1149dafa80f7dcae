"""Words for large models: the parameters that every such operation shares, placeholders, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.engines.pictures import Lora

from .base import OperationContext
from .loras import shelf as own_loras
from .loras import with_trigger
from .pictures import ReferenceParameters
from .presets import merged, shelf

PLACEHOLDERS = ("title", "category")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_LORA = re.compile(r"\s*([\w.-]+)\s*(?::\s*(-?\d+(?:\.\d+)?)\s*)?")

SCHEDULERS = (
    ("", gettext_lazy("The model's own")), ("euler", "Euler"), ("euler_a", "Euler a"), ("dpm++", "DPM++ 2M"),
    ("dpm++_karras", "DPM++ 2M Karras"), ("ddim", "DDIM"), ("pndm", "PNDM"), ("heun", "Heun"), ("unipc", "UniPC"),
    ("lcm", "LCM"), ("flow_euler", "Flow Euler"),
)


def _presets() -> list[tuple[str, str]]:
    return [("", _("None: only the words above")), *shelf.choices()]


class PromptParameters(ReferenceParameters):
    """Fields for everything that a large model makes by words."""

    prompt = forms.CharField(
        label=gettext_lazy("Words"), max_length=2000, initial="{title}",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy(
            "What shall be seen, for example: {title} on a marble table, soft daylight. {title} and {category} stand "
            "for the product's own."
        ),
    )
    negative = forms.CharField(
        label=gettext_lazy("Words for what shall not be seen"), max_length=2000, required=False,
        help_text=gettext_lazy("For example: text, watermark, people."),
    )
    # Not a ChoiceField: a job that waits keeps its words, and its preset may be gone when it is read again.
    preset = forms.CharField(
        label=gettext_lazy("Preset"), max_length=64, required=False,
        widget=forms.Select(choices=_presets),  # type: ignore[arg-type]
        help_text=gettext_lazy("Ready-made words around your own: a ground, a light, a season."),
    )
    preset_words = forms.JSONField(required=False, widget=forms.HiddenInput)
    count = forms.IntegerField(
        label=gettext_lazy("How many"), min_value=1, max_value=16, initial=1,
        help_text=gettext_lazy("Number of variants to make."),
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"), min_value=0, max_value=2**31 - 1, required=False,
        help_text=gettext_lazy("The same seed makes the same pictures; empty: a new one each time."),
    )
    steps = forms.IntegerField(
        label=gettext_lazy("Steps"), min_value=1, max_value=150, initial=30,
        help_text=gettext_lazy("More take longer and are finer; beyond 50 hardly anything changes."),
    )
    guidance = forms.FloatField(
        label=gettext_lazy("Heed the words"), min_value=0, max_value=30, initial=7.0,
        help_text=gettext_lazy(
            "How closely the words are followed: 5 to 9 for most models, 1 to 4 for newer ones; 1 and less: freely, "
            "and without heeding what shall not be seen."
        ),
    )
    scheduler = forms.ChoiceField(
        label=gettext_lazy("Scheduler"), choices=SCHEDULERS, initial="", required=False,
        help_text=gettext_lazy("How noise becomes a picture. The model's own is right unless you know better."),
    )
    loras = forms.CharField(
        label=gettext_lazy("LoRAs"), max_length=500, required=False,
        help_text=gettext_lazy(
            "Fine-tunings that were trained here and are in use, or that the settings name, with their weights: "
            "house-style: 0.8, linen: 0.5"
        ),
    )

    def clean_prompt(self) -> str:
        return known_placeholders(str(self.cleaned_data["prompt"]))

    def clean_negative(self) -> str:
        return known_placeholders(str(self.cleaned_data.get("negative") or ""))

    def clean_preset_words(self) -> dict[str, Any] | None:
        """The words behind the preset's name, kept with the job; those that it was queued with before, when it is read
        again."""
        name, words = str(self.cleaned_data.get("preset") or ""), self.cleaned_data.get("preset_words")
        if not name:
            return None
        if words in (None, "", {}):
            preset = shelf.find(name)
            if preset is None:
                known = ", ".join(known for known, _label in shelf.choices())
                self.add_error("preset", _("There is no preset %(name)s. Known are: %(known)s.") % {
                    "name": name, "known": known
                })  # fmt: skip
                return None
            return preset.words()
        if not isinstance(words, dict) or not isinstance(words.get("prompt"), str):
            raise forms.ValidationError(_("The words of a preset are written by the app."))
        return words

    def clean_loras(self) -> str:
        text = str(self.cleaned_data.get("loras") or "")
        parse_loras(text)
        return text


def parse_loras(text: str) -> tuple[Lora, ...]:
    """``"name: 0.8, other"`` -> LoRAs with their weights (1 where none is given). Raises forms.ValidationError."""
    found = []
    for part in filter(str.strip, text.split(",")):
        match = _LORA.fullmatch(part)
        weight = float(match.group(2) or 1.0) if match else 0.0
        if match is None or not -4.0 <= weight <= 4.0:
            raise forms.ValidationError(
                _("LoRAs are names with weights of -4 to 4, separated by commas: house-style: 0.8, linen: 0.5")
            )
        found.append(Lora(name=match.group(1), weight=weight))
    if len({each.name for each in found}) < len(found):
        raise forms.ValidationError(_("A LoRA is named twice."))
    return tuple(found)


def expand(text: str, *, title: str, category: str) -> str:
    """The words with the product's own in place of {title} and {category}; what is empty leaves no gap.

    One pass: braces in a product's title are not read again.
    """
    values: Mapping[str, str] = {"title": title, "category": category}
    filled = _PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group(0)), text)
    return re.sub(r"\s+([,.;])", r"\1", re.sub(r"\s+", " ", filled)).strip(" ,;")


def words_of(context: OperationContext) -> tuple[str, str]:
    """Prompt and negative prompt as the model gets them. A product without a title is called by its category; the
    trigger words of LoRAs stand in front unless they are in the prompt."""
    return final_words(context.params, title=context.product_title, category=context.category)


def final_words(params: Mapping[str, Any], *, title: str, category: str) -> tuple[str, str]:
    """As :func:`words_of`, for a product of this title and category ("" for what it has not)."""
    prompt, negative = (str(params[name] or "") for name in ("prompt", "negative"))
    preset = params.get("preset_words")
    if preset:
        prompt, negative = merged(preset, prompt, negative, category)
    title, category = title or category, category or title
    prompt = expand(prompt, title=title, category=category)
    for lora in reversed(parse_loras(str(params.get("loras") or ""))):
        own = own_loras.find(lora.name) if lora.weight else None
        prompt = with_trigger(prompt, own.trigger) if own is not None and prompt else prompt
    return prompt, expand(negative, title=title, category=category)


def known_placeholders(text: str, *more: str) -> str:
    """``text``, when its placeholders are known: those of products, and ``more``. Raises forms.ValidationError."""
    unknown = sorted({name for name in _PLACEHOLDER.findall(text) if name not in (*PLACEHOLDERS, *more)})
    if unknown:
        raise forms.ValidationError(
            _("Unknown placeholders: %(names)s. Known are {title} and {category}.")
            % {"names": ", ".join("{" + name + "}" for name in unknown)}
        )
    return text


def lora_parameters(params: Mapping[str, Any]) -> tuple[Lora, ...]:
    """The parameter ``loras`` of parameters that were validated; those trained here come with their file."""
    found = []
    for lora in parse_loras(str(params.get("loras") or "")):
        own = own_loras.find(lora.name)
        found.append(lora if own is None else replace(lora, path=own.locate(), sha256=own.sha256))
    return tuple(found)


def unknown_loras(params: Mapping[str, Any], named: tuple[str, ...]) -> str:
    """Why the parameter ``loras`` can't be used: a name that neither ``named`` (the engine's options) nor the shop's
    own versions have; "" when it can."""
    for lora in parse_loras(str(params.get("loras") or "")):
        if lora.name not in named and own_loras.find(lora.name) is None:
            known = sorted({*named, *(name for name, _label in own_loras.choices())})
            return _(
                "There is no LoRA %(name)s in use. Known are: %(known)s. One that was trained here is used once a "
                "version of it is made the active one."
            ) % {"name": lora.name, "known": ", ".join(known) or "-"}
    return ""
