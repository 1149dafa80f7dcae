"""Alias -> engine, one instance per process."""

from __future__ import annotations

import threading

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from shopgen_django.conf import app_settings

from .base import Engine

_ENGINES: dict[str, Engine] = {}
_lock = threading.Lock()


def get_engine(alias: str) -> Engine:
    """The engine behind ``alias``. Raises ``ImproperlyConfigured`` naming the known aliases."""
    engine = _ENGINES.get(alias)
    if engine is None:
        with _lock:  # weights must not be loaded twice because two threads asked at once
            engine = _ENGINES.get(alias)
            if engine is None:
                engine = _ENGINES[alias] = _build(alias)
    return engine


def _build(alias: str) -> Engine:
    try:
        entry = app_settings.ENGINES[alias]
        backend = entry["BACKEND"]
    except (KeyError, TypeError) as error:
        raise ImproperlyConfigured(
            f"SHOPGEN['ENGINES'] has no {alias!r} with a BACKEND. Known aliases: {sorted(app_settings.ENGINES)}."
        ) from error
    engine: Engine = import_string(backend)(**(entry.get("OPTIONS") or {}))
    engine.alias = alias
    return engine


def reset_engines() -> None:
    """Free and forget every engine."""
    with _lock:
        engines = list(_ENGINES.values())
        _ENGINES.clear()
    for engine in engines:
        engine.free()


def _on_setting_changed(*, setting: str, **kwargs: object) -> None:
    if setting == "SHOPGEN":
        reset_engines()


setting_changed.connect(_on_setting_changed, dispatch_uid="shopgen.engines.reset")
