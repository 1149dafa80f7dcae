"""One operation over many pictures or products."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from shopgen_django.models import ImageKind, ImageState

from .base import CatalogueField, Choice, ExactBoolean, KeyField, Strict
from .jobs import EstimateSerializer

SELECTIONS = ("images", "products", "image_filter", "product_filter")


class ImageSelectionSerializer(Strict):
    """Pictures by what is known about them; every given value must fit."""

    state = serializers.ListField(child=Choice(ImageState), required=False, min_length=1, max_length=10)
    kind = Choice(ImageKind, required=False)
    catalogue = CatalogueField(required=False)
    object_pk = KeyField(required=False)
    category = serializers.CharField(required=False, max_length=100)
    operation = serializers.CharField(required=False, max_length=64)
    batch = serializers.UUIDField(required=False, help_text="Results of an earlier batch.")


class ProductSelectionSerializer(Strict):
    """Products on offer in the shop."""

    category = serializers.CharField(required=False, max_length=100, help_text="Exactly this category.")
    search = serializers.CharField(required=False, max_length=100, help_text="Text in the title, any letter case.")


class BatchSerializer(Strict):
    """Exactly one of `images`, `products`, `image_filter` and `product_filter` says what to work on.

    Pictures: one job each. Products: one job each for an operation that takes no pictures, else one job for each of
    their source pictures that shopgen knows.
    """

    operation = serializers.CharField(max_length=64, help_text="A name from /operations/.")
    params = serializers.DictField(
        required=False, help_text="The same for all; /operations/{name}/ has their JSON schema."
    )
    images = serializers.ListField(child=serializers.UUIDField(), required=False, min_length=1)
    products = serializers.ListField(child=KeyField(), required=False, min_length=1)
    catalogue = CatalogueField(required=False, allow_blank=True, help_text="Of the products; empty: the default one.")
    image_filter = ImageSelectionSerializer(required=False)
    product_filter = ProductSelectionSerializer(required=False)
    dry_run = ExactBoolean(default=False, help_text="Only say what would happen.")
    skip_problems = ExactBoolean(
        default=False, help_text="Queue the items that can be queued; otherwise one problem refuses all."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in SELECTIONS if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError(_("Give exactly one of %(names)s.") % {"names": ", ".join(SELECTIONS)})
        if attrs.get("catalogue") and given[0] not in {"products", "product_filter"}:
            raise serializers.ValidationError({"catalogue": [_("Only for products.")]})
        return attrs


class ProblemSerializer(serializers.Serializer[Any]):
    item = serializers.CharField(help_text="The picture's id or the product's key.")
    code = serializers.CharField()
    message = serializers.CharField()


class BatchPlanSerializer(serializers.Serializer[Any]):
    """What a batch would do."""

    count = serializers.IntegerField(help_text="Jobs that would be queued.")
    estimate = EstimateSerializer()
    problems = ProblemSerializer(many=True)
    limit = serializers.IntegerField(help_text="Most jobs that one batch may queue.")


class BatchAnswerSerializer(serializers.Serializer[Any]):
    """A batch that was queued."""

    batch = serializers.UUIDField()
    count = serializers.IntegerField()
    jobs = serializers.ListField(child=serializers.UUIDField(), help_text="In the order of the items.")
    status_url = serializers.URLField(help_text="The list of its jobs.")
    estimate = EstimateSerializer()
    problems = ProblemSerializer(many=True, help_text="Items that were skipped.")
