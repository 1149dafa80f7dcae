"""How often somebody asked: one row per user and kind of request."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class RateWindow(models.Model):
    """Counter of one key in the current window of time; older windows are overwritten, so rows never pile up."""

    scope = models.CharField(_("kind of request"), max_length=32)
    key = models.CharField(_("who"), max_length=64)
    window = models.BigIntegerField(_("number of the window since 1970"))
    count = models.PositiveBigIntegerField(_("used"), default=0)

    class Meta:
        verbose_name = _("rate window")
        verbose_name_plural = _("rate windows")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="shopgen_rate_window_once")]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}: {self.count}"
