"""A person decides what reaches the shop."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.models import ImageKind, ImageState, Job, ProductImage, Review, ReviewDecision

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

    Raises NotAllowed (with FOUR_EYES also for what one made, asked for, or made the original of), InvalidState when
    somebody else was faster.
    """
    _need(user)
    if app_settings.REVIEW["FOUR_EYES"] and user is not None and user.pk and _had_a_hand(user, image):
        raise NotAllowed(_("Somebody else has to review the pictures that you made."), code="four_eyes")
    return _decide(image, user, ReviewDecision.APPROVED, reason)


def _had_a_hand(user: Any, image: ProductImage) -> bool:
    """Whether ``user`` made the picture, asked for its job, or did so for a result that it was made from.

    Photos that somebody imported or uploaded are the shop's: who took them in may judge what others make of them.
    """
    if image.created_by_id == user.pk:
        return True
    mine = Q(created_by=user.pk) | Q(job__created_by=user.pk)
    asked = image.job_id is not None and Job.objects.filter(pk=image.job_id, created_by=user.pk).exists()
    return asked or image.parents.filter(mine, kind=ImageKind.RESULT).exists()


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
