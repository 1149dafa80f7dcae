"""Jobs: what a client sends, and what it sees while it waits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers

from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import Job, JobQueue, JobState
from shopgen_django.operations.registry import get_operation

from .base import CatalogueField, Choice, KeyField, Link, Nested, PersonField, ReadOnly, Strict, Time


class EstimateSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField(help_text="Seconds of work on one ordinary core, waiting not counted.")
    outputs = serializers.IntegerField(help_text="Pictures (of `describe`: texts) that will come out.")


class JobErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class ShownParams(serializers.DictField):
    """A job's parameters without what services keep there for themselves."""

    def get_attribute(self, instance: Job) -> dict[str, Any]:
        try:
            hidden = get_operation(instance.operation).hidden_params
        except ShopgenError:  # no longer installed
            hidden = ()
        return {name: value for name, value in instance.params.items() if name not in hidden}


class JobProblemSerializer(serializers.Serializer[Any]):
    item = serializers.CharField(help_text="The product's key.")
    label = serializers.CharField(help_text="The product's title.")  # type: ignore[assignment]
    code = serializers.CharField()
    message = serializers.CharField()


class JobSerializer(ReadOnly):
    """One job."""

    state = Choice(JobState)
    queue = Choice(JobQueue)
    params = ShownParams(help_text="As given, completed with the defaults.")
    inputs = serializers.SerializerMethodField(
        help_text="Ids of the input pictures, in order, and after them those that parameters name."
    )
    images = serializers.SerializerMethodField(
        help_text="Ids of the pictures that the job made, in order. Of an upload or an import: those that are stored "
        "now, the ones that were there already included."
    )
    suggestions = serializers.SerializerMethodField(help_text="Ids of the texts that the job proposed.")
    problems = JobProblemSerializer(
        many=True, help_text="Products of an import whose photos did not come in, and why."
    )
    error = Nested(JobErrorSerializer, help_text="Why it failed; null while it has not.")
    estimate = Nested(EstimateSerializer, help_text="Null when its operation is no longer installed.")
    model_version = serializers.UUIDField(source="model_version_id", allow_null=True)
    created_by = PersonField(allow_null=True)
    not_before, cancel_requested_at = Time(), Time(allow_null=True)
    created_at, updated_at = Time(), Time()
    started_at, finished_at = Time(allow_null=True), Time(allow_null=True)
    status_url = Link("job-detail")
    cancel_url = Link("job-cancel")
    retry_url = Link("job-retry")

    class Meta:
        model = Job
        fields = (
            "id", "state", "operation", "params", "progress", "stage", "status_url", "cancel_url", "retry_url",
            "estimate", "inputs", "images", "suggestions", "problems", "error", "catalogue", "object_pk",
            "product_label",
            "model_version", "batch", "queue", "priority", "attempt", "max_attempts", "not_before",
            "cancel_requested_at", "created_by", "created_at", "updated_at", "started_at", "finished_at", "seconds",
            "device_seconds", "peak_memory",
        )

    def get_inputs(self, job: Job) -> list[UUID]:
        return [row.image_id for row in job.job_inputs.all()]

    def get_images(self, job: Job) -> list[UUID]:
        if "images" in job.result:
            return [UUID(key) for key in job.result["images"]]
        made = sorted(job.images.all(), key=lambda image: image.index)
        return [image.pk for image in made]

    def get_suggestions(self, job: Job) -> list[UUID]:
        return [suggestion.pk for suggestion in job.suggestions.all()]

    def get_error(self, job: Job) -> dict[str, str] | None:
        if not job.error_code:
            return None
        return {"code": job.error_code, "message": job.error_detail[:2000]}

    def get_estimate(self, job: Job) -> dict[str, float] | None:
        try:
            operation = get_operation(job.operation)
            estimate = operation.estimate(job.params, len(job.job_inputs.all()))
        except (ShopgenError, KeyError, TypeError, ValueError):
            return None  # the operation is gone, or no longer reads parameters as old as these
        return {"seconds": estimate.seconds, "outputs": estimate.outputs}


class JobCreateSerializer(Strict):
    """What to do, with which pictures, for which product."""

    operation = serializers.CharField(max_length=64, help_text="A name from /operations/.")
    params = serializers.DictField(
        required=False, help_text="The operation's parameters; /operations/{name}/ has their JSON schema."
    )
    inputs = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=1000, help_text="Ids of input pictures, in order."
    )
    catalogue = CatalogueField(required=False, allow_blank=True, help_text="Alias; empty: the default catalogue.")
    object_pk = KeyField(required=False, allow_blank=True, help_text="Primary key of the product it is for.")
