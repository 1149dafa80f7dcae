"""Presets: ready-made words for large models, with the person's own words and the product's in their places.

As recipes: those that come with the app are here, the shop's own are rows that somebody else keeps (:data:`shelf`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .shelf import Shelf

WORDS = "{words}"
"""Where a preset has the person's own words; one without it has them in front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Words under a name. ``by_category`` holds other prompts for some of the shop's categories."""

    name: str
    label: str | Promise
    prompt: str
    negative: str = ""
    by_category: Mapping[str, str] = field(default_factory=dict)

    def words(self) -> dict[str, object]:
        """Plain values, as a job keeps them: the preset may be changed or gone when it runs."""
        return {"prompt": self.prompt, "negative": self.negative, "by_category": dict(self.by_category)}


_PLAIN = "text, watermark, logo, frame, people, hands"
BUILT_IN: Mapping[str, Preset] = {
    each.name: each
    for each in (
        Preset(
            name="studio-white", label=_("Studio, white"), negative=_PLAIN,
            prompt="product photo of {words}, centred on a seamless pure white background, even softbox light, faint "
            "contact shadow, sharp focus",
        ),
        Preset(
            name="marble", label=_("Marble table"), negative=_PLAIN,
            prompt="product photo of {words} on a polished white marble table, soft daylight from the left, shallow "
            "depth of field",
        ),
        Preset(
            name="wood", label=_("Wooden table"), negative=_PLAIN,
            prompt="product photo of {words} on a light oak table, warm morning light, blurred kitchen behind",
        ),
        Preset(
            name="concrete", label=_("Concrete, hard light"), negative=_PLAIN,
            prompt="product photo of {words} on raw concrete, hard sunlight with a long crisp shadow, minimal",
        ),
        Preset(
            name="lifestyle", label=_("At home"), negative="text, watermark, logo, frame, clutter",
            prompt="{words} in a bright, tidy living room, linen and plants around, natural window light, lifestyle "
            "photo",
        ),
        Preset(
            name="summer", label=_("Summer"), negative=_PLAIN,
            prompt="product photo of {words} on pale sand with soft palm shadows, bright summer sun, sea in the "
            "distance",
        ),
        Preset(
            name="winter", label=_("Winter holidays"), negative=_PLAIN,
            prompt="product photo of {words} among fir branches and small warm lights, snow outside a window, cosy "
            "evening",
        ),
        Preset(
            name="autumn", label=_("Autumn"), negative=_PLAIN,
            prompt="product photo of {words} on a rustic board with fallen leaves, low golden light",
        ),
    )
}


shelf: Shelf[Preset] = Shelf(BUILT_IN, lambda preset: preset.label)


def merged(words: Mapping[str, object], prompt: str, negative: str, category: str) -> tuple[str, str]:
    """Prompt and negative prompt of a preset (:meth:`Preset.words`) with a person's own words in it."""
    special = words.get("by_category")
    template = str(words.get("prompt") or "")
    if isinstance(special, Mapping):
        template = str(special.get(category) or template)
    together = template.replace(WORDS, prompt) if WORDS in template else ", ".join(filter(None, (prompt, template)))
    return together, ", ".join(filter(None, (negative, str(words.get("negative") or ""))))
