"""The words that a model would read: what is asked, and what is told."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from .base import KeyField
from .batch import SELECTIONS, BatchSerializer, ProblemSerializer


class WordsRequestSerializer(BatchSerializer):
    """The body of `POST /jobs/` or of `POST /jobs/batch/`, as it would be sent to queue this work.

    `operation` may be left out: the address names it. `dry_run` and `skip_problems` mean nothing here.
    """

    operation = serializers.CharField(max_length=64, required=False, help_text="The one that the address names.")
    inputs = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=1000, help_text="Of a single job, as for `/jobs/`."
    )
    object_pk = KeyField(required=False, allow_blank=True, help_text="Of a single job, as for `/jobs/`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not any(name in attrs for name in SELECTIONS):
            return attrs
        both = [name for name in ("inputs", "object_pk") if name in attrs]
        if both:
            text = _("Give either what one job works on or a selection of several, not both.")
            raise serializers.ValidationError({name: [text] for name in both})
        return super().validate(attrs)


class PassageSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(allow_blank=True, help_text="As the model gets it.")
    cut = serializers.CharField(
        allow_blank=True, allow_null=True, help_text="Its end that the model does not read; null where that is unknown."
    )
    partly = serializers.CharField(
        allow_blank=True, allow_null=True,
        help_text="What stands before `cut` and is read by some of the model's text encoders only.",
    )


class WordsSerializer(serializers.Serializer[Any]):
    step = serializers.CharField(allow_blank=True, help_text="Of a chain: the operation that reads them.")
    prompt = PassageSerializer()
    negative = PassageSerializer()
    negative_heeded = serializers.BooleanField(
        help_text="Whether the model heeds the negative prompt with these parameters."
    )
    untold = serializers.CharField(allow_blank=True, help_text="Why it is unknown what is cut; else empty.")


class WordsTargetSerializer(serializers.Serializer[Any]):
    item = serializers.CharField(allow_blank=True, help_text="The picture's id, the product's key, or empty.")
    words = WordsSerializer(many=True, help_text="Empty for an operation that needs no words; of a chain each step's.")


class WordsAnswerSerializer(serializers.Serializer[Any]):
    """What models would read."""

    targets = WordsTargetSerializer(many=True, help_text="One for each job that would be queued.")
    cut = serializers.IntegerField(help_text="In how many of them words would be left unread.")
    problems = ProblemSerializer(many=True, help_text="Items that can't be queued.")
