from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.catalogues.wagtail_project.shop"
    label = "shop"
