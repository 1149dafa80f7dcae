"""Recipes as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from shopgen_django.operations.chains import MAX_STEPS

from .base import PersonField, Strict, Time

WRITTEN_BY_US = ("built_in", "created_by", "created_at", "updated_at", "url")
"""What an answer holds beside the recipe; taken and left out when an answer is sent back."""


class StepSerializer(Strict):
    operation = serializers.CharField(max_length=64, help_text="Name of an operation.")
    params = serializers.DictField(
        required=False, help_text="Its parameters; their JSON schema stands under `/operations/{name}/`."
    )
    params_version = serializers.IntegerField(
        required=False, min_value=1, help_text="Version that the parameters were written for; without it: today's."
    )


class RecipeSerializer(serializers.Serializer[Any]):
    """A recipe as it is shown."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    steps = StepSerializer(many=True)
    built_in = serializers.BooleanField(help_text="Comes with the app and can't be changed; copy it instead.")
    version = serializers.IntegerField(help_text="Rises with every change; 0 for a built-in one.")
    created_by = PersonField(allow_null=True)
    created_at, updated_at = Time(allow_null=True), Time(allow_null=True)
    url = serializers.URLField()


class RecipeChangeSerializer(Strict):
    label = serializers.CharField(max_length=100)  # type: ignore[assignment]
    description = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    steps = StepSerializer(many=True, min_length=1, max_length=MAX_STEPS)  # type: ignore[call-arg]
    version = serializers.IntegerField(required=False, min_value=0, help_text="The version that was read.")

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name not in WRITTEN_BY_US}
        return super().to_internal_value(data)


class RecipeCreateSerializer(RecipeChangeSerializer):
    name = serializers.RegexField(r"^[A-Za-z0-9_-]{1,64}$", help_text="For addresses and commands.")
