"""The screens of the Django admin. Importing this package registers them (Django's autodiscovery does)."""

from __future__ import annotations

from . import images, jobs, review, runs, versions
from .products import ShopgenProductActions

__all__ = ["ShopgenProductActions", "images", "jobs", "review", "runs", "versions"]
