"""The configured catalogues: built once per process from ``SHOPGEN["CATALOGUES"]``, forgotten when settings change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import models
from django.utils.module_loading import import_string

from shopgen_django.conf import app_settings

from .base import Catalogue

DEFAULT_ADAPTER = "shopgen_django.catalogues.generic.GenericCatalogue"

_built: dict[str, Catalogue] = {}
_lock = threading.Lock()


def catalogue_aliases() -> list[str]:
    """The configured aliases, in the order of the setting."""
    return list(_configured())


def get_catalogue(alias: str = "default") -> Catalogue:
    """The catalogue of this alias. Raises ImproperlyConfigured, saying what to set, when it can't be built."""
    built = _built.get(alias)
    if built is None:
        with _lock:
            built = _built.get(alias) or _build(alias)
            _built[alias] = built
    return built


def catalogue_for_model(model: type[models.Model]) -> Catalogue | None:
    """The first catalogue whose product model is ``model`` or an ancestor of it; None when there is none."""
    concrete = model._meta.concrete_model or model
    for alias in catalogue_aliases():
        catalogue = get_catalogue(alias)
        own = catalogue.model._meta.concrete_model or catalogue.model
        if issubclass(concrete, own):
            return catalogue
    return None


def _configured() -> Mapping[str, Any]:
    configured = app_settings.CATALOGUES
    if not isinstance(configured, Mapping):
        raise ImproperlyConfigured(
            'SHOPGEN["CATALOGUES"] must be a dict of aliases, each with "ADAPTER" and "OPTIONS", '
            f"not {type(configured).__name__}."
        )
    return configured


def _build(alias: str) -> Catalogue:
    configured = _configured()
    if alias not in configured:
        raise ImproperlyConfigured(
            f"There is no catalogue “{alias}”. Configured: {', '.join(configured) or 'none'}. Name the product model: "
            f'SHOPGEN = {{"CATALOGUES": {{"{alias}": {{"OPTIONS": {{"MODEL": "shop.Product"}}}}}}}}'
        )
    entry = configured[alias]
    where = f'SHOPGEN["CATALOGUES"]["{alias}"]'
    if not isinstance(entry, Mapping):
        raise ImproperlyConfigured(f'{where} must be a dict with "ADAPTER" and "OPTIONS".')
    unknown = sorted(set(entry) - {"ADAPTER", "OPTIONS"})
    if unknown:
        raise ImproperlyConfigured(f'{where} has no key {", ".join(unknown)}. Valid keys: "ADAPTER", "OPTIONS".')
    adapter = entry.get("ADAPTER", DEFAULT_ADAPTER)
    if isinstance(adapter, str):
        try:
            adapter = import_string(adapter)
        except ImportError as error:
            raise ImproperlyConfigured(f'{where}["ADAPTER"]: {error}') from error
    if not (isinstance(adapter, type) and issubclass(adapter, Catalogue)):
        raise ImproperlyConfigured(
            f'{where}["ADAPTER"] must name a subclass of shopgen_django.catalogues.Catalogue, not {adapter!r}.'
        )
    options = entry.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f'{where}["OPTIONS"] must be a dict of the adapter\'s options.')
    return adapter(alias, **options)


def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {"SHOPGEN", "INSTALLED_APPS", "DATABASES"}:
        _built.clear()


setting_changed.connect(_reset, dispatch_uid="shopgen.catalogues.reset")
