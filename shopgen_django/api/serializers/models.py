"""Operations, model versions and training runs."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from rest_framework import serializers

from shopgen_django.models import MetricPoint, ModelVersion, RunState, TrainingRun

from .base import Choice, Link, PersonField, ReadOnly, Time


class OperationSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    min_inputs = serializers.IntegerField(help_text="Input pictures it needs at least.")
    max_inputs = serializers.IntegerField(help_text="Input pictures it takes at most; 0: none.")
    accelerated = serializers.BooleanField(help_text="Whether a GPU speeds it up.")
    model_purpose = serializers.CharField(help_text="Purpose of the active model it needs; empty: none.")
    digital_source = serializers.CharField(help_text="IPTC DigitalSourceType of its results.")
    params_version = serializers.IntegerField()
    schema = serializers.DictField(help_text="JSON Schema (2020-12) of the parameters.")
    url = serializers.URLField()


class ModelSerializer(ReadOnly):
    """A trained model. Where its files lie is not told."""

    categories = serializers.SerializerMethodField(help_text="What it can be asked for; empty: no categories.")
    run = serializers.UUIDField(source="run_id", allow_null=True)
    teacher = serializers.UUIDField(
        source="teacher_id", allow_null=True, help_text="The model that this one was compressed from."
    )
    created_by = PersonField(allow_null=True)
    created_at, activated_at = Time(), Time(allow_null=True)
    url = Link("model-detail")
    activate_url = Link("model-activate")

    class Meta:
        model = ModelVersion
        fields = (
            "id", "name", "version", "purpose", "category", "is_active", "url", "activate_url", "engine", "categories",
            "weights_sha256", "weights_bytes", "manifest_sha256", "photos", "metrics", "licence", "epsilon", "delta",
            "library_versions", "run", "teacher", "created_by", "created_at", "activated_at",
        )

    def get_categories(self, version: ModelVersion) -> list[str]:
        return [str(name) for name in version.config.get("categories") or ()]


class TrainingRunSerializer(ReadOnly):
    """A training run. Folders and process numbers stay on the machine that has them."""

    state = Choice(RunState)
    config = serializers.SerializerMethodField(help_text="Its configuration, without folders.")
    created_by = PersonField(allow_null=True)
    started_at, heartbeat_at, finished_at = Time(), Time(allow_null=True), Time(allow_null=True)
    stop_asked_at = Time(allow_null=True)
    order = serializers.DictField(read_only=True, help_text="What was asked for; empty for a run of the command.")
    url = Link("run-detail")
    points_url = Link("run-points")
    start_url, stop_url, resume_url = Link("run-start"), Link("run-stop"), Link("run-resume")
    estimate = serializers.DictField(
        read_only=True, help_text="Photos, seconds, images per second, bytes of memory ...; empty until it is made."
    )

    class Meta:
        model = TrainingRun
        fields = (
            "id", "name", "state", "stage", "url", "points_url", "start_url", "stop_url", "resume_url", "order",
            "estimate", "stop_asked_at", "category", "config", "photos", "images_seen", "images_total",
            "progress", "latest", "device", "error", "created_by", "started_at", "heartbeat_at", "finished_at",
        )

    def get_config(self, run: TrainingRun) -> dict[str, Any]:
        return {name: value for name, value in run.config.items() if not _is_path(value)}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and PurePath(value).is_absolute()


class MetricPointSerializer(ReadOnly):
    class Meta:
        model = MetricPoint
        fields = ("images_seen", "seconds", "values")


class QueueHealthSerializer(serializers.Serializer[Any]):
    queue = serializers.CharField()
    ready = serializers.IntegerField(help_text="Jobs that wait for a worker.")
    oldest_ready_seconds = serializers.FloatField(allow_null=True)
    running = serializers.IntegerField()
    lost = serializers.IntegerField(help_text="Jobs whose worker went away and that will be queued again.")
    workers_alive = serializers.IntegerField()
    last_beat_seconds = serializers.FloatField(allow_null=True)
    ok = serializers.BooleanField()
    status = serializers.CharField(help_text="One sentence for people.")


class HealthSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    queues = QueueHealthSerializer(many=True)
