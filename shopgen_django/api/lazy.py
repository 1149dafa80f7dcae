"""OpenAPI only when somebody asks for it: drf-spectacular's generator is not imported with the URLconf."""

from __future__ import annotations

from typing import Any


class LazySchema:
    """Stands for ``ShopgenSchema`` as a view's ``schema`` and imports it at first use."""

    def __init__(self) -> None:
        self._real: Any = None

    def __get__(self, instance: Any, owner: Any) -> Any:
        if self._real is None:
            from .openapi import ShopgenSchema

            self._real = ShopgenSchema()
        return self._real.__get__(instance, owner)
