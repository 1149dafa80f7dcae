"""Pictures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers

from shopgen_django.models import (
    DigitalSource,
    ImageKind,
    ImageState,
    Measurement,
    ProductImage,
    Publication,
    Review,
    ReviewDecision,
)

from .base import CatalogueField, Choice, KeyField, Link, PersonField, ReadOnly, Strict, Time, UploadedFile, finite


class MeasurementSerializer(ReadOnly):
    value = serializers.SerializerMethodField(method_name="finite_value")

    class Meta:
        model = Measurement
        fields = ("name", "value", "unit")

    def finite_value(self, row: Measurement) -> float | None:
        return finite(row.value)


class ImageSerializer(ReadOnly):
    """One picture as lists show it."""

    kind = Choice(ImageKind)
    state = Choice(ImageState)
    digital_source = serializers.CharField(help_text="IPTC DigitalSourceType; empty: not known.")
    params = serializers.DictField(help_text="Parameters of the operation that made it.")
    job = serializers.UUIDField(source="job_id", allow_null=True)
    model_version = serializers.UUIDField(source="model_version_id", allow_null=True)
    parents = serializers.SerializerMethodField(help_text="Ids of the pictures that it was made from.")
    measurements = MeasurementSerializer(many=True)
    created_by = PersonField(allow_null=True)
    created_at, updated_at = Time(), Time()
    approved_at, published_at = Time(allow_null=True), Time(allow_null=True)
    product_deleted_at = Time(allow_null=True)
    url = Link("image-detail")
    content_url = Link("image-content")
    lineage_url = Link("image-lineage")

    class Meta:
        model = ProductImage
        fields: tuple[str, ...] = (
            "id", "kind", "state", "url", "content_url", "lineage_url", "catalogue", "object_pk", "product_label",
            "product_deleted_at", "category", "alt_text", "sha256", "format", "width", "height", "bytes",
            "digital_source", "personal", "gate_reason", "parents", "job", "index", "operation", "params",
            "model_version", "measurements", "created_by", "created_at", "updated_at", "approved_at", "published_at",
        )

    def get_parents(self, image: ProductImage) -> list[UUID]:
        return [parent.pk for parent in image.parents.all()]


class ReviewSerializer(ReadOnly):
    decision = Choice(ReviewDecision)
    reviewer = PersonField(allow_null=True)
    created_at = Time()

    class Meta:
        model = Review
        fields = ("decision", "reason", "reviewer", "created_at")


class PublicationSerializer(ReadOnly):
    """Where a picture was put, and how it was taken back. The receipt is the adapter's own business."""

    published_by, withdrawn_by = PersonField(allow_null=True), PersonField(allow_null=True)
    published_at, withdrawn_at = Time(), Time(allow_null=True)

    class Meta:
        model = Publication
        fields = (
            "id", "catalogue", "object_pk", "placement", "published_by", "published_at", "withdrawn_by",
            "withdrawn_at", "withdraw_outcome", "note",
        )


class ImageDetailSerializer(ImageSerializer):
    """One picture with its history."""

    reviews = ReviewSerializer(many=True)
    publications = PublicationSerializer(many=True)

    class Meta(ImageSerializer.Meta):
        fields = (*ImageSerializer.Meta.fields, "reviews", "publications")


class UploadSerializer(Strict):
    """A photo: JPEG, PNG or WebP. It is checked and encoded anew; its EXIF data is dropped."""

    file = UploadedFile(allow_empty_file=True, help_text="JPEG, PNG or WebP.")
    catalogue = CatalogueField(required=False, allow_blank=True, help_text="Alias; empty: the default catalogue.")
    object_pk = KeyField(required=False, allow_blank=True, help_text="Primary key of the product that it shows.")
    category = serializers.CharField(required=False, allow_blank=True, max_length=100)
    alt_text = serializers.CharField(required=False, allow_blank=True, max_length=500)
    digital_source = Choice(
        DigitalSource, required=False,
        help_text="Origin of the picture as an IPTC DigitalSourceType; left out: not known.",
    )


class ReviewRequestSerializer(Strict):
    decision = Choice(ReviewDecision)
    reason = serializers.CharField(
        required=False, allow_blank=True, max_length=500, help_text="Needed for a rejection."
    )


class PublishRequestSerializer(Strict):
    placement = serializers.CharField(
        default="main", max_length=16, help_text="`main`: the product's main picture; `gallery`: after the others."
    )


class WithdrawRequestSerializer(Strict):
    note = serializers.CharField(required=False, allow_blank=True, max_length=500)


class LineageNodeSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    state = serializers.CharField()
    operation = serializers.CharField()
    created_at = serializers.DateTimeField()
    content_url = serializers.URLField()


class LineageEdgeSerializer(serializers.Serializer[Any]):
    parent = serializers.UUIDField()  # type: ignore[assignment]
    child = serializers.UUIDField()


class LineageSerializer(serializers.Serializer[Any]):
    """Everything that a picture was made from and everything made from it, as far as the caller may see."""

    nodes = LineageNodeSerializer(many=True)
    edges = LineageEdgeSerializer(many=True)
    truncated = serializers.BooleanField(help_text="True when the graph is larger than what is shown.")
