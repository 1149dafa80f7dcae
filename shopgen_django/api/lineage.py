"""What a picture was made from, and what was made from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any
from uuid import UUID

from shopgen_django.models import ProductImage

MAX_NODES = 200
MAX_DEPTH = 20

Edge = tuple[UUID, UUID]


def lineage(image: ProductImage, user: Any, link: Callable[..., str]) -> dict[str, Any]:
    """The graph around ``image``, breadth first, one query per level and direction; of what ``user`` may see.

    At most 200 pictures and 20 levels each way; ``truncated`` says whether more was left out.
    """
    nodes: dict[UUID, ProductImage] = {image.pk: image}
    edges: set[Edge] = set()
    truncated = False
    for upwards in (True, False):
        frontier = {image.pk}
        for _level in range(MAX_DEPTH):
            found = _neighbours(frontier, upwards=upwards)
            wanted = {edge[0 if upwards else 1] for edge in found} - nodes.keys()
            room = MAX_NODES - len(nodes)
            visible = _visible(wanted, user, room + 1)
            truncated = truncated or len(visible) > room
            nodes |= dict(list(visible.items())[:room])
            edges |= {edge for edge in found if edge[0] in nodes and edge[1] in nodes}
            frontier = wanted & nodes.keys()
            if not frontier:
                break
        else:
            truncated = True
    return {
        "nodes": [_node(row, link) for row in nodes.values()],
        "edges": [{"parent": str(parent), "child": str(child)} for parent, child in sorted(edges)],
        "truncated": truncated,
    }


def _neighbours(frontier: set[UUID], *, upwards: bool) -> set[Edge]:
    """(parent, child) of every edge that starts at ``frontier``, bounded."""
    through = ProductImage.parents.through.objects
    side = "from_productimage_id__in" if upwards else "to_productimage_id__in"
    rows = through.filter(**{side: frontier}).values_list("to_productimage_id", "from_productimage_id")
    return set(rows[: MAX_NODES * 10])


def _visible(ids: set[UUID], user: Any, count: int) -> dict[UUID, ProductImage]:
    if not ids or count <= 0:
        return {}
    rows = ProductImage.objects.visible_to(user).filter(pk__in=ids)
    rows = rows.only("id", "kind", "state", "operation", "created_at").order_by("created_at", "pk")
    return {row.pk: row for row in rows[:count]}


def _node(row: ProductImage, link: Callable[..., str]) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "kind": row.kind,
        "state": row.state,
        "operation": row.operation,
        "created_at": row.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "content_url": link("image-content", pk=row.pk),
    }
