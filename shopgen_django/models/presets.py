"""Presets that a shop has saved."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _


class Preset(models.Model):
    """Ready-made words for large models. Jobs keep the words that they were queued with."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(
        _("name"), max_length=64, unique=True, help_text=_("Short, for commands and HTTP: letters, digits, hyphens.")
    )
    label = models.CharField(_("label"), max_length=100, help_text=_("What people read in lists."))
    label_zh = models.CharField(
        _("label in Chinese"), max_length=100, blank=True, help_text=_("Empty: the label above in every language.")
    )
    prompt = models.TextField(
        _("words"), max_length=2000,
        help_text=_("{words} stands for what somebody writes, {title} and {category} for the product’s own."),
    )
    negative = models.TextField(_("words for what shall not be seen"), max_length=2000, blank=True)
    by_category: Any = models.JSONField(_("other words for some categories"), default=dict, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("preset")
        verbose_name_plural = _("presets")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.own_label

    @property
    def own_label(self) -> str:
        """The label in the language that is spoken now."""
        chinese = (get_language() or "").lower().startswith("zh")
        return self.label_zh if chinese and self.label_zh else self.label
