"""Replaceable executors of operations, behind the aliases of ``SHOPGEN["ENGINES"]``."""

from __future__ import annotations

from .base import Engine, GeneratorEngine
from .registry import get_engine, reset_engines

__all__ = ["Engine", "GeneratorEngine", "get_engine", "reset_engines"]
