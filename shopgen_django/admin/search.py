"""The search of long lists: what an index can look up in all rows, and any word in the newest ones.

A part of a text is served by no index, neither SQLite's nor PostgreSQL's own, so that looking for it everywhere takes
longer with every picture. Beginnings of names are looked up instead, in the ways in which people write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet, Subquery, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

RECENT = 2_000
"""Newest rows in which any part of a text is found."""
MAX_FOUND = 500
"""Rows that each of the two ways finds at most."""
_LAST = "\U0010ffff"


def bounded_search(
    rows: QuerySet[Any], term: str, *, begins: Sequence[str] = (), equals: Sequence[str] = (),
    within: Sequence[str] = (), where: Q | None = None,
) -> QuerySet[Any]:
    """Those of ``rows`` that the term finds; two queries of bounded cost.

    ``begins``: indexed columns whose text begins with the term; ``equals``: indexed columns that are the term (only of
    rows that fulfil ``where``); ``within``: columns that hold every word of the term, in the newest ``RECENT`` rows.
    """
    term = " ".join(term.split())
    if not term:
        return rows
    everywhere = rows.model._default_manager.order_by()
    vendor = connections[rows.db].vendor
    indexed = Q()
    for text in spellings(term):
        for column in begins:
            indexed |= _begins(column, text, vendor)
        for column in equals:
            indexed |= Q(**{column: text}) & (where or Q())
    recent = everywhere.filter(created_at__gte=_long_ago(rows))
    for word in term.split():
        recent = recent.filter(reduce(or_, (Q(**{f"{column}__icontains": word}) for column in within)))
    keys: dict[Any, None] = {}
    for found in (everywhere.filter(indexed), recent.order_by("-created_at", "-id")):
        keys.update(dict.fromkeys(found.values_list("pk", flat=True)[:MAX_FOUND]))
    return rows.filter(pk__in=list(keys))


def spellings(term: str) -> list[str]:
    """The term as it was typed and as names are written, without doubles."""
    return list(dict.fromkeys([
        term, term[:1].upper() + term[1:], term.capitalize(), term.title(), term.lower(), term.upper()
    ]))  # fmt: skip


def _begins(column: str, text: str, vendor: str) -> Q:
    # The first condition is that of the partial index.
    filled = Q(**{f"{column}__gt": ""})
    if vendor == "sqlite":
        # Its LIKE knows no case, so that the index, which does, can't serve it.
        return filled & Q(**{f"{column}__gte": text, f"{column}__lt": text + _LAST})
    return filled & Q(**{f"{column}__startswith": text})


def _long_ago(rows: QuerySet[Any]) -> Combinable:
    """When the oldest of the newest rows was made."""
    newest = rows.model._default_manager.order_by("-created_at", "-id").values("created_at")
    return Coalesce(Subquery(newest[RECENT : RECENT + 1]), Value(datetime(1970, 1, 1, tzinfo=UTC)))
