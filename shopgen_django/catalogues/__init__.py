"""How shopgen sees a shop: one adapter class per kind of shop, chosen in ``SHOPGEN["CATALOGUES"]``."""

from __future__ import annotations

from .base import Catalogue, Picture, Placement, Product, WithdrawOutcome
from .registry import catalogue_aliases, catalogue_for_model, get_catalogue

__all__ = [
    "Catalogue",
    "Picture",
    "Placement",
    "Product",
    "WithdrawOutcome",
    "catalogue_aliases",
    "catalogue_for_model",
    "get_catalogue",
]
