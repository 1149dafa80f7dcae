"""The job row: the queue's message is only a doorbell, this row is the job."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .choices import FINISHED_JOB_STATES, JobQueue, JobState
from .querysets import JobQuerySet


class Job(models.Model):
    """One piece of work for a worker.

    ``attempt`` counts claims, so a worker that dies has used one, and serves as the fencing token: a worker whose
    token is no longer the row's writes nothing. ``lease_until`` is set while running and renewed by the heartbeat.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation = models.CharField(_("operation"), max_length=64)
    params: Any = models.JSONField(_("parameters"), default=dict, blank=True)
    params_version = models.PositiveSmallIntegerField(default=1)
    inputs = models.ManyToManyField(
        "shopgen.ProductImage", through="shopgen.JobInput", related_name="used_by", verbose_name=_("inputs")
    )
    catalogue = models.CharField(_("catalogue"), max_length=64, blank=True)
    object_pk = models.CharField(_("product's primary key"), max_length=255, blank=True)
    product_label = models.CharField(_("product"), max_length=255, blank=True)
    # The database writes every index of a row whose state changes, twice a job: those of columns that are mostly empty
    # leave the empty ones out, and the owner's own is the first part of another one.
    model_version = models.ForeignKey(
        "shopgen.ModelVersion", models.PROTECT, null=True, blank=True, related_name="jobs", db_index=False
    )
    batch = models.UUIDField(_("batch"), null=True, blank=True)

    queue = models.CharField(_("queue"), max_length=8, choices=JobQueue.choices, default=JobQueue.CPU)
    priority = models.SmallIntegerField(_("priority"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("attempts allowed"), default=3)
    not_before = models.DateTimeField(_("not before"), db_default=Now())
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    worker = models.CharField(_("worker"), max_length=128, blank=True)
    rung_at = models.DateTimeField(_("last rung"), null=True, blank=True)
    lost_leases = models.PositiveSmallIntegerField(_("lost leases in a row"), default=0)

    progress = models.FloatField(_("progress"), default=0.0)
    stage = models.CharField(_("stage"), max_length=64, blank=True)
    cancel_requested_at = models.DateTimeField(_("cancel requested"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=64, blank=True)
    error_detail = models.TextField(_("error"), blank=True)
    history: Any = models.JSONField(_("attempts so far"), default=list, blank=True)
    result: Any = models.JSONField(_("what came of it"), default=dict, blank=True)
    """What a job says beside the pictures that it made: which ones were there already, what could not be done."""

    idempotency_key = models.CharField(_("idempotency key"), max_length=255, blank=True)
    request_sha256 = models.CharField(max_length=64, blank=True)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    seconds = models.FloatField(_("seconds"), null=True, blank=True)
    device_seconds = models.FloatField(_("device seconds"), null=True, blank=True)
    peak_memory = models.PositiveBigIntegerField(_("peak memory in bytes"), null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["-created_at", "-id"]
        permissions = [
            ("submit_job", "Can queue jobs"),
            ("cancel_job", "Can cancel jobs"),
            ("retry_job", "Can retry failed jobs"),
        ]
        indexes = [
            models.Index(
                "queue", F("priority").desc(), "created_at", "id",
                condition=Q(state=JobState.QUEUED), name="shopgen_job_ready",
            ),
            models.Index(
                fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="shopgen_job_leases"
            ),
            models.Index(fields=["-created_at", "-id"], name="shopgen_job_newest"),
            models.Index(fields=["created_by", "state"], name="shopgen_job_owner"),
            models.Index(fields=["state", "-created_at"], name="shopgen_job_state"),
            models.Index(fields=["operation", "-created_at"], name="shopgen_job_operation"),
            models.Index(fields=["batch"], condition=Q(batch__isnull=False), name="shopgen_job_batch"),
            models.Index(fields=["model_version"], condition=Q(model_version__isnull=False), name="shopgen_job_model"),
            # For the search; the operators let PostgreSQL look up a beginning whatever its collation.
            models.Index(
                fields=["product_label"], opclasses=["varchar_pattern_ops"], condition=Q(product_label__gt=""),
                name="shopgen_job_label",
            ),
            models.Index(fields=["error_code"], condition=Q(state=JobState.FAILED), name="shopgen_job_error"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=JobState.values), name="shopgen_job_state_known"),
            models.CheckConstraint(
                condition=Q(state=JobState.RUNNING, lease_until__isnull=False)
                | (~Q(state=JobState.RUNNING) & Q(lease_until__isnull=True)),
                name="shopgen_job_running_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINISHED_JOB_STATES, finished_at__isnull=False)
                | (~Q(state__in=FINISHED_JOB_STATES) & Q(finished_at__isnull=True)),
                name="shopgen_job_finished_has_time",
            ),
            models.CheckConstraint(
                condition=Q(attempt__lte=F("max_attempts")), name="shopgen_job_attempts_bounded"
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0.0, progress__lte=1.0), name="shopgen_job_progress_share"
            ),
            models.CheckConstraint(
                condition=~Q(state=JobState.FAILED) | ~Q(error_code=""), name="shopgen_job_failed_has_code"
            ),
            models.UniqueConstraint(
                fields=["created_by", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="shopgen_job_idempotency",
            ),
            # NULLs are distinct in the constraint above, and SQLite can't say otherwise.
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=Q(created_by__isnull=True) & ~Q(idempotency_key=""),
                name="shopgen_job_idempotency_nobody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {str(self.id)[:8]}"

    @property
    def problems(self) -> list[dict[str, str]]:
        """What the job could not do although it succeeded: ``item``, ``label``, ``code`` and ``message`` of each."""
        return list(self.result.get("problems") or ())

    @property
    def is_finished(self) -> bool:
        """Whether no worker will change this row any more."""
        return self.state in FINISHED_JOB_STATES


class JobInput(models.Model):
    """One input picture of a job, in order."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="job_inputs")
    image = models.ForeignKey("shopgen.ProductImage", models.PROTECT, related_name="+")
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="shopgen_job_input_order")]

    def __str__(self) -> str:
        return f"{self.job_id} [{self.position}]"
