"""Product pictures: the shop's own photos and what jobs made, with lineage, measurements and reviews."""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .choices import (
    APPROVED_STATES,
    UNAPPROVED_STATES,
    DigitalSource,
    ImageKind,
    ImageState,
    ReviewDecision,
)
from .querysets import ImageQuerySet


def image_storage() -> Storage:
    """Storage of every picture's file (a callable, so that migrations don't freeze a location)."""
    from shopgen_django.storage import private_storage

    return private_storage()


def image_path(instance: ProductImage, filename: str) -> str:
    """Name in the storage. Services choose the whole name (it holds the sha256); it is kept as it is."""
    return str(PurePosixPath(filename))


class ProductImage(models.Model):
    """One picture file and what is known about it.

    The product is named by catalogue alias, content type and primary key as text, so that any shop's model fits and a
    deleted product leaves its pictures (a tombstone: ``product_deleted_at``) instead of a crash.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=ImageKind.choices)
    state = models.CharField(_("state"), max_length=10, choices=ImageState.choices, default=ImageState.DRAFT)

    catalogue = models.CharField(_("catalogue"), max_length=64, blank=True)
    content_type = models.ForeignKey(
        "contenttypes.ContentType", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    object_pk = models.CharField(_("product's primary key"), max_length=255, blank=True)
    product_label = models.CharField(_("product"), max_length=255, blank=True)
    product_deleted_at = models.DateTimeField(_("product deleted at"), null=True, blank=True)
    category = models.CharField(_("category"), max_length=100, blank=True)

    file = models.FileField(_("file"), storage=image_storage, upload_to=image_path, max_length=255)
    sha256 = models.CharField(_("SHA-256"), max_length=64)
    origin_sha256 = models.CharField(_("SHA-256 of the file as it came in"), max_length=64, blank=True, default="")
    format = models.CharField(_("format"), max_length=8)
    width = models.PositiveIntegerField(_("width"))
    height = models.PositiveIntegerField(_("height"))
    bytes = models.PositiveBigIntegerField(_("size in bytes"))
    alt_text = models.CharField(_("alt text"), max_length=500, blank=True)
    digital_source = models.CharField(
        _("origin"), max_length=48, choices=DigitalSource.choices, blank=True, default=DigitalSource.UNKNOWN
    )
    personal = models.BooleanField(_("shows a person"), default=False)
    gate_reason = models.CharField(_("held back because"), max_length=500, blank=True)

    parents = models.ManyToManyField(
        "self", symmetrical=False, related_name="children", blank=True, verbose_name=_("made from")
    )
    job = models.ForeignKey(
        "shopgen.Job", models.SET_NULL, null=True, blank=True, related_name="images", verbose_name=_("job")
    )
    index = models.PositiveIntegerField(_("number within the job"), default=0)
    model_version = models.ForeignKey(
        "shopgen.ModelVersion", models.PROTECT, null=True, blank=True, related_name="images"
    )
    operation = models.CharField(_("operation"), max_length=64, blank=True)
    params = models.JSONField(_("parameters"), default=dict, blank=True)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    approved_at = models.DateTimeField(_("approved"), null=True, blank=True)
    published_at = models.DateTimeField(_("published"), null=True, blank=True)

    objects = ImageQuerySet.as_manager()

    class Meta:
        verbose_name = _("product picture")
        verbose_name_plural = _("product pictures")
        ordering = ["-created_at", "-id"]
        permissions = [
            ("review_productimage", "Can approve and reject pictures"),
            ("publish_productimage", "Can publish approved pictures into the shop"),
            ("withdraw_productimage", "Can take published pictures back"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="shopgen_image_newest"),
            models.Index(fields=["state", "created_at", "id"], name="shopgen_image_state"),
            models.Index(fields=["catalogue", "object_pk"], name="shopgen_image_product"),
            models.Index(fields=["sha256"], name="shopgen_image_sha256"),
            models.Index(
                fields=["origin_sha256"], condition=~Q(origin_sha256=""), name="shopgen_image_origin"
            ),
            models.Index(fields=["category", "-created_at"], name="shopgen_image_category"),
            models.Index(
                fields=["product_label"], opclasses=["varchar_pattern_ops"], condition=Q(product_label__gt=""),
                name="shopgen_image_label",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ImageKind.values), name="shopgen_image_kind"),
            models.CheckConstraint(
                condition=Q(state__in=APPROVED_STATES, approved_at__isnull=False)
                | Q(state__in=UNAPPROVED_STATES, approved_at__isnull=True),
                name="shopgen_image_approved_has_review",
            ),
            models.CheckConstraint(
                condition=Q(state=ImageState.PUBLISHED, published_at__isnull=False)
                | (~Q(state=ImageState.PUBLISHED) & Q(published_at__isnull=True)),
                name="shopgen_image_published_has_time",
            ),
            models.CheckConstraint(
                condition=Q(personal=False) | ~Q(state=ImageState.PUBLISHED),
                name="shopgen_image_person_not_published",
            ),
            models.UniqueConstraint(
                fields=["job", "index"], condition=Q(job__isnull=False), name="shopgen_image_once_per_job"
            ),
            models.UniqueConstraint(fields=["file"], name="shopgen_image_owns_file"),
        ]

    def __str__(self) -> str:
        return f"{self.product_label or self.category or self.get_kind_display()} {str(self.id)[:8]}"

    @property
    def has_product(self) -> bool:
        """Whether the picture belongs to a product that still exists as far as we know."""
        return bool(self.catalogue and self.object_pk and self.product_deleted_at is None)

    @property
    def content_type_header(self) -> str:
        """MIME type by our own table, never by what an uploader claimed."""
        return {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}.get(
            self.format, "application/octet-stream"
        )


class Measurement(models.Model):
    """One figure measured on a picture (sharpness, share of blank pixels, uncertainty ...)."""

    image = models.ForeignKey(ProductImage, models.CASCADE, related_name="measurements")
    name = models.CharField(_("name"), max_length=64)
    value = models.FloatField(_("value"))
    unit = models.CharField(_("unit"), max_length=16, blank=True)

    class Meta:
        verbose_name = _("measurement")
        verbose_name_plural = _("measurements")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["image", "name"], name="shopgen_measured_once")]

    def __str__(self) -> str:
        return f"{self.name} = {self.value:g}{self.unit}"


class Review(models.Model):
    """One person's decision on a picture. Rows are only ever added."""

    image = models.ForeignKey(ProductImage, models.CASCADE, related_name="reviews")
    decision = models.CharField(_("decision"), max_length=10, choices=ReviewDecision.choices)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("decided"), auto_now_add=True)

    class Meta:
        verbose_name = _("review")
        verbose_name_plural = _("reviews")
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="shopgen_review_newest")]
        constraints = [
            models.CheckConstraint(
                condition=Q(decision=ReviewDecision.APPROVED) | ~Q(reason=""),
                name="shopgen_review_rejection_has_reason",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_decision_display()} {self.created_at:%Y-%m-%d}"


class Publication(models.Model):
    """A picture put into the shop's catalogue: what was put where, and what stood there before (the receipt)."""

    image = models.ForeignKey(ProductImage, models.PROTECT, related_name="publications")
    catalogue = models.CharField(_("catalogue"), max_length=64)
    object_pk = models.CharField(_("product's primary key"), max_length=255)
    placement = models.CharField(_("placement"), max_length=16, default="main")
    receipt: Any = models.JSONField(_("receipt"), default=dict)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(_("published"), auto_now_add=True)
    withdrawn_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True)
    withdraw_outcome = models.CharField(_("outcome of the withdrawal"), max_length=32, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("publication")
        verbose_name_plural = _("publications")
        ordering = ["-published_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["image"], condition=Q(withdrawn_at__isnull=True), name="shopgen_published_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.catalogue}:{self.object_pk} {self.placement}"
