"""Alias -> engine, one instance per process."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from shopgen_django.conf import app_settings

from .base import Engine

_ENGINES: dict[str, Engine] = {}


def get_engine(alias: str) -> Engine:
    """The engine behind ``alias``. Raises ``ImproperlyConfigured`` naming the known aliases."""
    engine = _ENGINES.get(alias)
    if engine is None:
        try:
            entry = app_settings.ENGINES[alias]
            backend = entry["BACKEND"]
        except KeyError as error:
            raise ImproperlyConfigured(
                f"SHOPGEN['ENGINES'] has no {alias!r} with a BACKEND. Known aliases: {sorted(app_settings.ENGINES)}."
            ) from error
        engine = import_string(backend)(**entry.get("OPTIONS", {}))
        _ENGINES[alias] = engine
    return engine


def reset_engines() -> None:
    """Free and forget every engine."""
    for engine in _ENGINES.values():
        engine.free()
    _ENGINES.clear()


def _on_setting_changed(*, setting: str, **kwargs: object) -> None:
    if setting == "SHOPGEN":
        reset_engines()


setting_changed.connect(_on_setting_changed, dispatch_uid="shopgen.engines.reset")
