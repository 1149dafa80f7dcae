"""Recipes that a shop has saved."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Recipe(models.Model):
    """A chain of operations under a name. ``services.recipes`` reads and writes it; jobs copy its steps."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(
        _("name"), max_length=64, unique=True, help_text=_("Short, for commands and HTTP: letters, digits, hyphens.")
    )
    label = models.CharField(_("label"), max_length=100, help_text=_("What people read in lists."))
    description = models.TextField(_("description"), max_length=1000, blank=True)
    steps: Any = models.JSONField(_("steps"), default=list)
    version = models.PositiveIntegerField(_("version"), default=1)
    """Rises with every change: who saves says which version they have seen."""
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("recipe")
        verbose_name_plural = _("recipes")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.label
