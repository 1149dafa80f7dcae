"""Rows that somebody else may have deleted in the meantime."""

from __future__ import annotations

from django.utils.translation import gettext as _

from shopgen_django.exceptions import NotFound
from shopgen_django.models import ProductImage


def reload_image(image: ProductImage) -> None:
    """Read the row again. Raises NotFound when it is gone."""
    try:
        image.refresh_from_db()
    except ProductImage.DoesNotExist:
        raise gone(image) from None


def gone(image: ProductImage) -> NotFound:
    """The error for a picture whose row no longer exists."""
    return NotFound(_("The picture %(name)s has been deleted meanwhile.") % {"name": image}, code="image_deleted")


def shows_person(image: ProductImage) -> bool:
    """Whether the picture or any picture that it was made from, however far back, shows a person."""
    if image.personal:
        return True
    seen = frontier = {image.pk}
    while frontier:
        parents = dict(ProductImage.objects.filter(children__in=frontier).values_list("pk", "personal"))
        if any(parents.values()):
            return True
        frontier = set(parents) - seen
        seen = seen | frontier
    return False
