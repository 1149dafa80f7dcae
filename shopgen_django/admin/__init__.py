"""The screens of the Django admin. Importing this package registers them (Django's autodiscovery does)."""

from __future__ import annotations

from django.db.models.signals import post_delete

from shopgen_django.models import ProductImage

from . import images, jobs, presets, recipes, review, runs, supplied, texts, versions
from .products import ShopgenProductActions
from .thumbnails import forget_thumbnails

# Here and not with the services: whoever makes the small versions removes them. Every process with the admin installed
# (workers and commands as well) imports this package in its setup.
post_delete.connect(forget_thumbnails, sender=ProductImage, dispatch_uid="shopgen.admin.thumbnails")

__all__ = [
    "ShopgenProductActions", "images", "jobs", "presets", "recipes", "review", "runs", "supplied", "texts", "versions",
]  # fmt: skip
