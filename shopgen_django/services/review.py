"""A person decides what reaches the shop."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.models import ImageState, ProductImage, Review, ReviewDecision

from .rows import reload_image


def _need(user: Any) -> None:
    if user is not None and not user.has_perm("shopgen.review_productimage"):
        raise NotAllowed(_("You may not review pictures."))


def send_to_review(*, image: ProductImage, user: Any = None) -> ProductImage:
    """Put a draft, rejected or withdrawn picture before the reviewers (again)."""
    _need(user)
    changed = ProductImage.objects.filter(
        pk=image.pk, state__in=(ImageState.DRAFT, ImageState.REJECTED, ImageState.WITHDRAWN)
    ).update(state=ImageState.IN_REVIEW, approved_at=None, updated_at=Now())
    reload_image(image)
    if not changed:
        raise InvalidState(
            _("The picture is %(state)s and can't be sent to review.") % {"state": image.get_state_display()}
        )
    return image


def approve(*, image: ProductImage, user: Any = None, reason: str = "") -> ProductImage:
    """Approve a picture that waits for review.

    Raises NotAllowed (with FOUR_EYES also for one's own job), InvalidState when somebody else was faster.
    """
    _need(user)
    own = user is not None and user.pk and image.created_by_id == user.pk
    if app_settings.REVIEW["FOUR_EYES"] and own:
        raise NotAllowed(_("Somebody else has to review the pictures that you made."), code="four_eyes")
    return _decide(image, user, ReviewDecision.APPROVED, reason)


def reject(*, image: ProductImage, user: Any = None, reason: str) -> ProductImage:
    """Reject a picture that waits for review; the reason is kept. Raises InvalidParameters without a reason."""
    _need(user)
    if not reason.strip():
        text = _("Say why the picture is rejected.")
        raise InvalidParameters(text, fields={"reason": [text]})
    return _decide(image, user, ReviewDecision.REJECTED, reason)


def _decide(image: ProductImage, user: Any, decision: str, reason: str) -> ProductImage:
    approved = decision == ReviewDecision.APPROVED
    with transaction.atomic():
        changed = ProductImage.objects.filter(pk=image.pk, state=ImageState.IN_REVIEW).update(
            state=ImageState.APPROVED if approved else ImageState.REJECTED,
            approved_at=Now() if approved else None,
            updated_at=Now(),
        )
        if changed:
            Review.objects.create(
                image=image, decision=decision, reason=reason.strip()[:500],
                reviewer=user if getattr(user, "pk", None) else None,
            )
    reload_image(image)
    if not changed:
        raise InvalidState(
            _("The picture is %(state)s; only pictures that wait for review can be decided on.")
            % {"state": image.get_state_display()}
        )
    return image
