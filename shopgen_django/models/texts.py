"""Texts that a model proposed for a product or a picture: read by a person, put into the shop, taken back."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .choices import TextKind, TextState
from .querysets import TextQuerySet


class TextSuggestion(models.Model):
    """One proposed text of one kind.

    ``text`` is what a person approves, maybe changed; ``proposed`` stays as the model wrote it. Tags stand one a line.
    The receipt of a published one holds what stood in the shop before, as with pictures.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=16, choices=TextKind.choices)
    state = models.CharField(_("state"), max_length=10, choices=TextState.choices, default=TextState.IN_REVIEW)
    language = models.CharField(_("language"), max_length=16, blank=True)
    text = models.TextField(_("text"))
    proposed = models.TextField(_("as it was proposed"), editable=False)
    doubts = models.JSONField(_("to be looked at"), default=list, blank=True, editable=False)
    facts = models.JSONField(_("made with"), default=dict, blank=True, editable=False)

    image = models.ForeignKey(
        "shopgen.ProductImage", models.SET_NULL, null=True, blank=True, related_name="suggestions",
        verbose_name=_("picture"),
    )
    catalogue = models.CharField(_("catalogue"), max_length=64, blank=True)
    object_pk = models.CharField(_("product's primary key"), max_length=255, blank=True)
    product_label = models.CharField(_("product"), max_length=255, blank=True)
    product_deleted_at = models.DateTimeField(_("product deleted at"), null=True, blank=True)
    job = models.ForeignKey(
        "shopgen.Job", models.SET_NULL, null=True, blank=True, related_name="suggestions", verbose_name=_("job")
    )

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("reviewer")
    )
    reviewed_at = models.DateTimeField(_("decided"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    receipt: Any = models.JSONField(_("receipt"), null=True, blank=True, editable=False)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(_("published"), null=True, blank=True)
    withdraw_outcome = models.CharField(_("outcome of the withdrawal"), max_length=32, blank=True)

    objects = TextQuerySet.as_manager()

    class Meta:
        verbose_name = _("proposed text")
        verbose_name_plural = _("proposed texts")
        ordering = ["-created_at", "-id"]
        permissions = [
            ("review_textsuggestion", "Can change, approve and reject proposed texts"),
            ("publish_textsuggestion", "Can put approved texts into the shop"),
            ("withdraw_textsuggestion", "Can take texts back from the shop"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="shopgen_text_newest"),
            models.Index(fields=["state", "created_at", "id"], name="shopgen_text_state"),
            models.Index(fields=["catalogue", "object_pk"], name="shopgen_text_product"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=TextKind.values), name="shopgen_text_kind"),
            models.CheckConstraint(condition=Q(state__in=TextState.values), name="shopgen_text_state_known"),
            models.CheckConstraint(
                condition=Q(state=TextState.IN_REVIEW) | Q(reviewed_at__isnull=False),
                name="shopgen_text_decided_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state=TextState.PUBLISHED, published_at__isnull=False, receipt__isnull=False)
                | (~Q(state=TextState.PUBLISHED) & Q(published_at__isnull=True)),
                name="shopgen_text_published_has_receipt",
            ),
            models.CheckConstraint(
                condition=~Q(state=TextState.REJECTED) | ~Q(reason=""), name="shopgen_text_rejection_has_reason"
            ),
            models.UniqueConstraint(
                fields=["job", "kind"], condition=Q(job__isnull=False), name="shopgen_text_once_per_job"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.text[:60]}"

    @property
    def has_product(self) -> bool:
        """Whether it belongs to a product that still exists as far as we know."""
        return bool(self.catalogue and self.object_pk and self.product_deleted_at is None)

    @property
    def tags(self) -> list[str]:
        """The lines of the text, each a tag."""
        return [line.strip() for line in self.text.splitlines() if line.strip()]
