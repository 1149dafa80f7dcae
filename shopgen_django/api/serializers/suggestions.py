"""Proposed texts."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from shopgen_django.models import ReviewDecision, TextKind, TextState, TextSuggestion

from .base import Choice, ExactBoolean, Link, PersonField, ReadOnly, Strict, Time


class SuggestionSerializer(ReadOnly):
    """One text that a model proposed."""

    kind, state = Choice(TextKind), Choice(TextState)
    proposed = serializers.CharField(help_text="As the model wrote it; `text` may have been changed since.")
    doubts = serializers.ListField(
        child=serializers.CharField(), help_text="What a reader should look at, in the language of the worker."
    )
    facts = serializers.DictField(help_text="How it was made: model, licence, hash, what left the machine.")
    image = serializers.UUIDField(source="image_id", allow_null=True, help_text="The (first) picture it is about.")
    job = serializers.UUIDField(source="job_id", allow_null=True)
    created_by, reviewer = PersonField(allow_null=True), PersonField(allow_null=True)
    published_by = PersonField(allow_null=True)
    created_at, updated_at = Time(), Time()
    reviewed_at, published_at = Time(allow_null=True), Time(allow_null=True)
    product_deleted_at = Time(allow_null=True)
    url = Link("suggestion-detail")

    class Meta:
        model = TextSuggestion
        fields = (
            "id", "kind", "state", "url", "language", "text", "proposed", "doubts", "facts", "image", "job",
            "catalogue", "object_pk", "product_label", "product_deleted_at", "reviewer", "reviewed_at", "reason",
            "published_by", "published_at", "withdraw_outcome", "created_by", "created_at", "updated_at",
        )


class TextChangeSerializer(Strict):
    text = serializers.CharField(max_length=5000, help_text="Tags stand one a line.")


class TextDecisionSerializer(Strict):
    decision = Choice(ReviewDecision)
    reason = serializers.CharField(
        required=False, allow_blank=True, max_length=500, help_text="Needed for a rejection."
    )
    text = serializers.CharField(
        required=False, max_length=5000, help_text="The text as it is approved; left out: as it stands."
    )
    publish = ExactBoolean(
        default=False, help_text="Put it into the shop at once; needs the permission for that as well."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["decision"] == ReviewDecision.REJECTED and (attrs["publish"] or "text" in attrs):
            raise serializers.ValidationError({"decision": [_("A rejected text is neither changed nor published.")]})
        return attrs
