"""Large models and networks that the shop supplies: what was last known about the files under a name."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class SuppliedModel(models.Model):
    """What a machine reported about the model of this name in its folder ``ROOT/models``, and its last verification.

    The files and their manifest are the truth, and engines insist on them at every load. A row is what is left to say
    where they can't be seen: the web server may not have the folder that the workers load from. The newest report
    replaces the one before it, whichever machine it comes from.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=64, unique=True)
    small = models.BooleanField(_("small network"), default=False)
    """A file of its own with a card, not a folder of one of the two libraries."""
    kind = models.CharField(_("kind"), max_length=100, blank=True)
    bytes = models.PositiveBigIntegerField(_("size in bytes"), default=0)
    licence = models.CharField(_("licence"), max_length=100, blank=True)
    commercial = models.BooleanField(_("commercial use"), null=True, blank=True)
    base = models.CharField(_("base model"), max_length=200, blank=True)
    source = models.CharField(_("source"), max_length=500, blank=True)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True)
    problem = models.TextField(_("problem"), blank=True)
    """Why it can't be used, as seen without hashing."""
    host = models.CharField(_("host"), max_length=128, blank=True)
    seen_at = models.DateTimeField(_("last seen"), null=True, blank=True)
    added_at = models.DateTimeField(_("added"), null=True, blank=True)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("added by")
    )
    checked_at = models.DateTimeField(_("verified"), null=True, blank=True)
    checked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+",
        verbose_name=_("verified by"),
    )
    checked_on = models.CharField(_("verified on"), max_length=128, blank=True)
    fault = models.TextField(_("what the verification found"), blank=True)
    """"" after a verification that found every file as it was added."""

    class Meta:
        verbose_name = _("large model or network")
        verbose_name_plural = _("large models and networks")
        ordering = ["name"]
        default_permissions = ("add", "delete", "view")
        permissions = [("verify_suppliedmodel", "Can have large models and networks verified")]

    def __str__(self) -> str:
        return self.name
