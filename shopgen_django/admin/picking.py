"""Finding a product of the shop without any script: a search box and a short list."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from shopgen_django.catalogues import get_catalogue
from shopgen_django.catalogues.base import Product
from shopgen_django.catalogues.registry import catalogue_aliases

from .subjects import Nothing, Products, Subject

SHOWN = 20


def usable_catalogues() -> list[str]:
    """Aliases of the catalogues that can be built; the system checks tell what is wrong with the others."""
    found = []
    for alias in catalogue_aliases():
        try:
            get_catalogue(alias)
        except ImproperlyConfigured:
            continue
        found.append(alias)
    return found


def subject_of(request: HttpRequest) -> Subject:
    """The product named in the request; without one, nothing in particular."""
    given = request.POST if request.method == "POST" else request.GET
    alias, keys = given.get("catalogue", ""), given.getlist("product")
    if alias in usable_catalogues() and keys:
        subject = Products(alias, keys)
        if subject.products:
            return subject
    return Nothing()


def pick_context(request: HttpRequest) -> dict[str, Any]:
    """What the search box shows."""
    query = request.GET.get("q", "").strip()
    hits = list(islice(_hits(query), SHOWN + 1)) if query else []
    return {"can_pick": True, "query": query, "hits": hits[:SHOWN], "more_hits": len(hits) > SHOWN}


def _hits(query: str) -> Iterator[tuple[str, Product]]:
    for alias in usable_catalogues():
        for product in get_catalogue(alias).products(search=query):
            yield alias, product
