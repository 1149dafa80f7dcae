"""The app's entry into Django: checks and signal handlers are registered, nothing heavy is imported."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ShopgenConfig(AppConfig):
    """``INSTALLED_APPS += ["shopgen_django"]``; the label (tables, permissions, admin addresses) is ``shopgen``."""

    name = "shopgen_django"
    label = "shopgen"
    verbose_name = _("Product pictures")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, signal_handlers
        from .operations.registry import autodiscover
        from .services import following, loras, presets, recipes, supplied_work

        checks.register_checks()
        signal_handlers.register()
        autodiscover()
        following.register()
        loras.register()
        presets.register()
        recipes.register()
        supplied_work.register()
