"""What supervised workers leave for others to see: their signs of life, and messages they could not read."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .choices import JobQueue


class WorkerBeat(models.Model):
    """One worker group of one supervisor (``manage.py shopgen_worker``), busy or idle. Gone when it was stopped."""

    group = models.CharField(_("group"), max_length=16, unique=True)
    queue = models.CharField(_("queue"), max_length=8, choices=JobQueue.choices)
    host = models.CharField(_("host"), max_length=64)
    pid = models.PositiveIntegerField(_("process"))
    workers = models.PositiveSmallIntegerField(_("workers"))
    restarts = models.PositiveIntegerField(_("restarts"), default=0)
    draining = models.BooleanField(_("stopping"), default=False)
    started_at = models.DateTimeField(_("started"), db_default=Now())
    beat_at = models.DateTimeField(_("last sign of life"), db_default=Now(), db_index=True)

    class Meta:
        verbose_name = _("worker group")
        verbose_name_plural = _("worker groups")
        ordering = ["queue", "host", "pid"]

    def __str__(self) -> str:
        return f"{self.queue} {self.host}:{self.pid}"


class UnreadableMessage(models.Model):
    """A queued message that could not be decoded, taken out of the queue because it kills whoever fetches it.

    Usually it names a class that a deploy removed, or it was written with another version of a library. The payload is
    kept as it was, so that it can be put back once the code can read it.
    """

    queue_name = models.CharField(_("queue"), max_length=100)
    payload = models.TextField(_("payload"))
    payload_sha256 = models.CharField(_("SHA-256"), max_length=64)
    error = models.CharField(_("error"), max_length=500)
    set_aside_at = models.DateTimeField(_("set aside"), db_default=Now())
    put_back_at = models.DateTimeField(_("put back"), null=True, blank=True)

    class Meta:
        verbose_name = _("unreadable message")
        verbose_name_plural = _("unreadable messages")
        ordering = ["-set_aside_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=~Q(error=""), name="shopgen_unreadable_has_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.queue_name} {self.payload_sha256[:8]}"
