"""Tags of the admin's templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.safestring import SafeString

from shopgen_django.admin import display
from shopgen_django.admin.status import overview
from shopgen_django.catalogues.base import WithdrawOutcome
from shopgen_django.models import ProductImage, Publication

register = template.Library()


@register.simple_tag
def sg_thumb(image: ProductImage, size: str = "small") -> SafeString:
    """The picture, linked to its page."""
    return display.thumb(image, size)


@register.simple_tag
def sg_picture_url(image: ProductImage, size: str = "small") -> str:
    """Address of the picture at a size, or "full"."""
    return display.picture_url(image, size)


@register.simple_tag
def sg_alt(image: ProductImage) -> str:
    """Its text alternative for staff."""
    return display.alt_of(image)


@register.simple_tag
def sg_state(image: ProductImage) -> SafeString:
    """Its state as a badge."""
    return display.badge(image.state, image.get_state_display())


@register.simple_tag
def sg_outcome(publication: Publication) -> str:
    """What a withdrawal did to the shop, in words."""
    outcome = publication.withdraw_outcome
    return str(WithdrawOutcome(outcome).label) if outcome in WithdrawOutcome.values else outcome


@register.simple_tag
def sg_item(mapping: Mapping[str, Any], key: str) -> Any:
    """``mapping[key]``, None when there is none."""
    return mapping.get(key)


@register.inclusion_tag("shopgen_django/admin/includes/overview.html", takes_context=True)
def sg_overview(context: Any) -> dict[str, Any]:
    """Counts and the state of the workers, for the app's start page."""
    user = context["request"].user
    return {
        "overview": overview(),
        "may_review": user.has_perm("shopgen.review_productimage"),
        "may_read_texts": user.has_perm("shopgen.review_textsuggestion"),
        "may_see_images": user.has_perm("shopgen.view_productimage"),
        "may_see_jobs": user.has_perm("shopgen.view_job"),
        "may_submit": user.has_perm("shopgen.submit_job"),
    }
