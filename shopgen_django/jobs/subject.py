"""What is known of the product that a job works for."""

from __future__ import annotations

from shopgen_django.catalogues import get_catalogue
from shopgen_django.exceptions import NotFound


def product_category(catalogue: str, object_pk: str) -> str:
    """Its category; "" for none, and for a product that is gone."""
    if not (catalogue and object_pk):
        return ""
    try:
        return get_catalogue(catalogue).get(object_pk).category
    except NotFound:
        return ""
