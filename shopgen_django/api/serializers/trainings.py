"""Bodies that ask for a training. The options are those of ``train_gan``, with their own help and limits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rest_framework import serializers

from shopgen_django.ml.config import TrainConfig
from shopgen_django.services.trainings import MAX_PRODUCTS, OPTIONS

from .base import ExactBoolean, KeyField, Strict


def _field(option: Any) -> serializers.Field[Any, Any, Any, Any]:
    meta = option.metadata
    keywords: dict[str, Any] = {"required": False, "help_text": meta["help"].replace("%%", "%")}
    if meta["many"]:
        child = serializers.CharField(max_length=100)
        return serializers.ListField(child=child, max_length=200, **keywords)
    if meta["choices"]:
        return serializers.ChoiceField(choices=meta["choices"], **keywords)
    if meta["kind"] is bool:
        return ExactBoolean(**keywords)
    if meta["kind"] in (int, float):
        kind = serializers.IntegerField if meta["kind"] is int else serializers.FloatField
        limits = {"min_value": meta["minimum"], "max_value": meta["maximum"]}
        return kind(**keywords, **{name: value for name, value in limits.items() if value is not None})
    return serializers.CharField(max_length=100, **keywords)


class TrainingOptionsSerializer(Strict):
    """What is left out, the trainer chooses by the photos and the machine."""

    def get_fields(self) -> dict[str, Any]:
        known = {option.name: option for option in fields(TrainConfig)}
        return {name: _field(known[name]) for name in OPTIONS}


class TrainingCreateSerializer(Strict):
    name = serializers.CharField(max_length=100, help_text="What the model will be called.")
    catalogue = serializers.CharField(
        max_length=100, default="default", help_text="Alias of the catalogue to learn from."
    )
    products = serializers.ListField(
        child=KeyField(), required=False, max_length=MAX_PRODUCTS, help_text="Only these products; empty: all."
    )
    options = TrainingOptionsSerializer(required=False)
    activate = ExactBoolean(default=False, help_text="Use the model as soon as it is finished.")
    start = ExactBoolean(default=False, help_text="Start without waiting for the estimate to be looked at.")
    id = serializers.UUIDField(
        required=False, help_text="Of the client's choice. Sent again, it gives the run that is there."
    )


class TrainingResumeSerializer(Strict):
    minutes = serializers.FloatField(
        required=False, min_value=0.01,
        help_text="In all, over all parts; more than before trains a finished run further.",
    )
