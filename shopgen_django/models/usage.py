"""What was spent, and what is set aside for jobs that wait or run."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class UsageEntry(models.Model):
    """One request that went to an engine over a server, or (``engine`` empty) the time of one attempt of a job.

    Stays when its job goes: a month's sum must not shrink because somebody tidied up.
    """

    at = models.DateTimeField(_("when"), db_default=Now())
    job = models.ForeignKey(
        "shopgen.Job", models.SET_NULL, null=True, blank=True, related_name="usage_entries"
    )
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    operation = models.CharField(_("operation"), max_length=64)
    engine = models.CharField(_("engine"), max_length=64, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    requests = models.PositiveIntegerField(_("requests"), default=0)
    pictures = models.PositiveIntegerField(_("pictures"), default=0)
    seconds = models.FloatField(_("seconds"), default=0.0)
    money = models.DecimalField(_("money"), max_digits=14, decimal_places=6, default=0)

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        default_permissions = ()
        indexes = [models.Index(fields=["at"], name="shopgen_usage_at")]

    def __str__(self) -> str:
        return f"{self.operation} {self.engine} {self.at}"


class UsageHold(models.Model):
    """What a job that waits or runs is expected to spend on one engine still; each request takes its own part off.

    It counts while the job is active. ``attempt`` is the attempt that has it for sure: 0 while the job waits.
    """

    job = models.ForeignKey("shopgen.Job", models.CASCADE, related_name="usage_holds")
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    operation = models.CharField(_("operation"), max_length=64)
    engine = models.CharField(_("engine"), max_length=64, blank=True)
    requests = models.PositiveIntegerField(_("requests"), default=0)
    pictures = models.PositiveIntegerField(_("pictures"), default=0)
    seconds = models.FloatField(_("seconds"), default=0.0)
    money = models.DecimalField(_("money"), max_digits=14, decimal_places=6, default=0)

    class Meta:
        verbose_name = _("set aside")
        verbose_name_plural = _("set aside")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job", "engine"], name="shopgen_usage_hold_once"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.engine}"
