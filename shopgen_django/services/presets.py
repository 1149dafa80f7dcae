"""The shop's presets, for the operations that use them."""

from __future__ import annotations

from shopgen_django import models
from shopgen_django.operations.presets import Preset, shelf

MOST = 200
"""Presets that are offered: they stand in one list."""


def register() -> None:
    """Tell the operations about the shop's presets; called from ``AppConfig.ready``."""
    shelf.find_own = _find
    shelf.own_choices = lambda: [(row.name, row.own_label) for row in models.Preset.objects.order_by("label")[:MOST]]


def _find(name: str) -> Preset | None:
    row = models.Preset.objects.filter(name=name).first()
    if row is None:
        return None
    return Preset(
        name=row.name, label=row.label, prompt=row.prompt, negative=row.negative, by_category=dict(row.by_category)
    )
