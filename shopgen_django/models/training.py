"""Trained models and the runs that made them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .choices import RunState


class TrainingRun(models.Model):
    """What the admin shows of a training run. The trainer itself keeps its state in the output folder."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    state = models.CharField(_("state"), max_length=10, choices=RunState.choices, default=RunState.RUNNING)
    output_dir = models.CharField(_("output folder"), max_length=500)
    category = models.CharField(_("category"), max_length=100, blank=True)
    config: Any = models.JSONField(_("configuration"), default=dict)
    dataset: Any = models.JSONField(_("data"), default=dict, blank=True)
    photos = models.PositiveIntegerField(_("photos"), default=0)
    images_seen = models.PositiveBigIntegerField(_("images seen"), default=0)
    images_total = models.PositiveBigIntegerField(_("images to see"), null=True, blank=True)
    progress = models.FloatField(_("progress"), default=0.0)
    latest: Any = models.JSONField(_("latest figures"), default=dict, blank=True)
    latest_sample = models.CharField(_("latest samples"), max_length=255, blank=True)
    device = models.CharField(_("device"), max_length=32, blank=True)
    host = models.CharField(_("host"), max_length=128, blank=True)
    pid = models.PositiveIntegerField(_("process"), null=True, blank=True)
    process = models.CharField(_("exact name of the process"), max_length=128, blank=True)
    """As :mod:`shopgen_django.jobs.identity` makes it: others on the machine can see that it has died."""
    order: Any = models.JSONField(_("what was asked for"), default=dict, blank=True)
    """What a page or a program asked for; empty for a run of the command."""
    estimate: Any = models.JSONField(_("estimate"), default=dict, blank=True)
    stage = models.CharField(_("what it does"), max_length=100, blank=True)
    stop_asked_at = models.DateTimeField(_("asked to stop"), null=True, blank=True)
    error = models.TextField(_("reason"), blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    started_at = models.DateTimeField(_("started"), auto_now_add=True)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("training run")
        verbose_name_plural = _("training runs")
        ordering = ["-started_at", "-id"]
        permissions = [("start_trainingrun", "Can start, stop and resume trainings")]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="shopgen_run_state_known"),
            models.CheckConstraint(
                condition=~Q(state=RunState.FAILED) | ~Q(error=""), name="shopgen_run_failed_has_reason"
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0.0, progress__lte=1.0), name="shopgen_run_progress_share"
            ),
            models.UniqueConstraint(
                fields=["output_dir"], condition=Q(state=RunState.RUNNING), name="shopgen_run_one_per_folder"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class MetricPoint(models.Model):
    """One tick of a run: the figures at ``images_seen``."""

    run = models.ForeignKey(TrainingRun, models.CASCADE, related_name="points")
    images_seen = models.PositiveBigIntegerField(_("images seen"))
    seconds = models.FloatField(_("seconds"))
    values: Any = models.JSONField(_("figures"), default=dict)

    class Meta:
        verbose_name = _("metric point")
        verbose_name_plural = _("metric points")
        ordering = ["images_seen"]
        constraints = [
            models.UniqueConstraint(fields=["run", "images_seen"], name="shopgen_metric_point_once")
        ]

    def __str__(self) -> str:
        return f"{self.run_id} @ {self.images_seen}"


class ModelVersion(models.Model):
    """A trained model: a folder with weights and all that is needed to load them, hashed at registration.

    One version is active per purpose and category; the category "" serves every category.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=100)
    version = models.PositiveIntegerField(_("version"))
    purpose = models.CharField(_("purpose"), max_length=64, default="generate")
    category = models.CharField(_("category"), max_length=100, blank=True)
    engine = models.CharField(_("engine"), max_length=64, default="generator")
    folder = models.CharField(_("folder"), max_length=500)
    weights_sha256 = models.CharField(_("SHA-256 of the weights"), max_length=64)
    weights_bytes = models.PositiveBigIntegerField(_("size in bytes"))
    config: Any = models.JSONField(_("configuration"), default=dict)
    metrics: Any = models.JSONField(_("metrics"), default=dict, blank=True)
    manifest_sha256 = models.CharField(_("SHA-256 of the data manifest"), max_length=64, blank=True)
    photos = models.PositiveIntegerField(_("photos"), default=0)
    licence = models.CharField(_("licence"), max_length=100, blank=True)
    epsilon = models.FloatField(_("epsilon"), null=True, blank=True)
    delta = models.FloatField(_("delta"), null=True, blank=True)
    library_versions: Any = models.JSONField(_("library versions"), default=dict, blank=True)
    run = models.ForeignKey(
        TrainingRun, models.SET_NULL, null=True, blank=True, related_name="versions", verbose_name=_("run")
    )
    teacher = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="compressed", verbose_name=_("compressed from")
    )
    is_active = models.BooleanField(_("active"), default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        ordering = ["-created_at", "-id"]
        permissions = [("activate_modelversion", "Can choose the active model")]
        constraints = [
            models.UniqueConstraint(
                fields=["purpose", "category"], condition=Q(is_active=True), name="shopgen_one_active_model"
            ),
            models.UniqueConstraint(fields=["name", "version"], name="shopgen_model_version_number"),
            models.CheckConstraint(
                condition=Q(is_active=False) | Q(activated_at__isnull=False),
                name="shopgen_active_model_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"
