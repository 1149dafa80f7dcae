"""The family of a picture: what it was made from and what was made from it, for two generations each way."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from shopgen_django.models import ProductImage

GENERATIONS = 2
PER_ROW = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One row of the graph. ``more``: pictures that are not shown."""

    title: str
    images: tuple[ProductImage, ...]
    more: bool = False
    own: bool = False


def lineage_of(image: ProductImage) -> list[Generation]:
    """Grandparents first, grandchildren last; at most four queries. One row (the picture itself) when it has no kin."""
    above: list[Generation] = []
    below: list[Generation] = []
    seen = {image.pk}
    frontier = [image.pk]
    for step in range(GENERATIONS):
        row = _row(ProductImage.objects.filter(children__in=frontier), seen, _ANCESTORS[step])
        if row is None:
            break
        above.insert(0, row)
        frontier = [found.pk for found in row.images]
    frontier = [image.pk]
    for step in range(GENERATIONS):
        row = _row(ProductImage.objects.filter(parents__in=frontier), seen, _DESCENDANTS[step])
        if row is None:
            break
        below.append(row)
        frontier = [found.pk for found in row.images]
    own = Generation(title=_("This picture"), images=(image,), own=True)
    return [*above, own, *below]


def _row(rows: QuerySet[ProductImage], seen: set[UUID], name: str) -> Generation | None:
    found = list(rows.exclude(pk__in=seen).defer("params").distinct().order_by("created_at", "id")[: PER_ROW + 1])
    seen.update(image.pk for image in found)
    if not found:
        return None
    return Generation(title=_TITLES[name](), images=tuple(found[:PER_ROW]), more=len(found) > PER_ROW)


_ANCESTORS = ("parents", "grandparents")
_DESCENDANTS = ("children", "grandchildren")
_TITLES = {
    "parents": lambda: _("Made from"),
    "grandparents": lambda: _("Which was made from"),
    "children": lambda: _("Made from this picture"),
    "grandchildren": lambda: _("Made from those"),
}
