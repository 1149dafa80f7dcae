"""Large models and networks that the shop supplies, and what workers are asked to do with them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from shopgen_django.models import JobState
from shopgen_django.operations.model_files import VERBS
from shopgen_django.services.supplied_work import LONGEST

from .base import Choice, ExactBoolean, Nested, PersonField, Strict, Time

STATES = ("ships", "working", "bad", "whole", "unchecked", "unknown")


class ModelUseSerializer(serializers.Serializer[Any]):
    alias = serializers.CharField(help_text="An engine of the settings.")
    option = serializers.CharField(help_text="The option that names the model.")


class ModelRequestSerializer(serializers.Serializer[Any]):
    """What a worker is asked to do with a model: a job."""

    verb = serializers.ChoiceField(choices=[name for name, _label in VERBS])
    name = serializers.CharField()
    state = Choice(JobState)
    error = serializers.CharField(allow_null=True, help_text="Why it failed; null while it has not.")
    asked_by = PersonField(allow_null=True)
    asked_at = Time()
    status_url = serializers.URLField(help_text="The job, for who asked for it.")
    url = serializers.URLField(help_text="The model; there once it has been added.")


class LargeModelSerializer(serializers.Serializer[Any]):
    """A large model or network. Where its files lie is not told."""

    name = serializers.CharField()
    kind = serializers.CharField(help_text="What it is: a family, a class, or the purpose of a small network.")
    small = serializers.BooleanField(help_text="A network in one file rather than a folder.")
    ships = serializers.BooleanField(help_text="Whether it comes with the package.")
    state = serializers.ChoiceField(
        choices=STATES,
        help_text="`ships`; `working`: see `request`; `bad`: see `problem` and `fault`; `whole`: verified; "
        "`unchecked`: not since it was added; `unknown`: never added, so nobody knows what its files should be.",
    )
    operations = serializers.ListField(
        child=serializers.CharField(), source="serves", help_text="What a model of its kind is for."
    )
    uses = ModelUseSerializer(many=True, help_text="The engines whose settings name it.")
    bytes = serializers.IntegerField()
    licence = serializers.CharField()
    commercial = serializers.BooleanField(allow_null=True, help_text="Whether that is allowed; null: not told.")
    base = serializers.CharField(help_text="The model that it was made from; empty: not told.")
    source = serializers.CharField()  # type: ignore[assignment]
    sha256 = serializers.CharField(help_text="Of all its files, as they were added.")
    problem = serializers.CharField(help_text="Why it can't be used, as far as is seen without hashing.")
    seen_on = serializers.CharField(source="host", help_text="The machine that reported it last; empty: none has.")
    seen_at, added_at = Time(allow_null=True), Time(allow_null=True)
    added_by = PersonField(allow_null=True)
    checked_at = Time(allow_null=True)
    checked_by = PersonField(allow_null=True)
    checked_on = serializers.CharField(help_text="The machine whose files were hashed.")
    fault = serializers.CharField(help_text="What the last verification found; empty: every file as it was added.")
    request = Nested(
        ModelRequestSerializer, help_text="What a worker is asked to do with it or has failed to do; null: nothing."
    )
    url = serializers.SerializerMethodField()

    def get_request(self, model: Any) -> Any:
        return self.context["shown_request"](model.request) if model.request is not None else None

    def get_url(self, model: Any) -> str:
        return str(self.context["url_of"](model.name))


class LargeModelCreateSerializer(Strict):
    path = serializers.CharField(
        max_length=LONGEST["path"],
        help_text="A folder of the server, below one of those of the setting `MODEL_SOURCES`: a whole path, or one "
        "from there on.",
    )
    name = serializers.CharField(max_length=64, help_text="Small letters, digits, dots and hyphens.")
    licence = serializers.CharField(max_length=LONGEST["licence"], help_text="An SPDX identifier where there is one.")
    commercial = ExactBoolean(help_text="Whether the licence allows commercial use.")
    source = serializers.CharField(  # type: ignore[assignment]
        max_length=LONGEST["source"], help_text="The address that it comes from."
    )
    base = serializers.CharField(max_length=LONGEST["base"], required=False, allow_blank=True, default="")
