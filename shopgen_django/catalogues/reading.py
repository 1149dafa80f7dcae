"""Values read from a shop's rows: a path of field names, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.utils.module_loading import import_string

from . import guessing


class Value:
    """One text of a product: where it comes from, how to read it, and whether the database can search it.

    ``source`` is a path such as ``"category__name"`` through foreign keys and many-to-many relations, the name of an
    attribute or method, a callable that takes the product, or the dotted path of one. ``lookup`` is the ORM path, or
    None when only Python can tell the value. Raises ImproperlyConfigured when ``source`` is none of these.
    """

    def __init__(self, model: type[models.Model], source: str | Callable[[Any], Any] | None, where: str) -> None:
        self.where = where
        self.lookup: str | None = None
        self.select: str = ""
        self.prefetch: str = ""
        self._call: Callable[[Any], Any] | None = None
        self._parts: list[str] = []
        if callable(source):
            self._call = source
        elif source:
            self._resolve(model, source)

    def _resolve(self, model: type[models.Model], source: str) -> None:
        if "." in source:
            try:
                self._call = import_string(source)
            except ImportError as error:
                raise ImproperlyConfigured(f"{self.where}: {error}") from error
            return
        parts = source.split("__")
        try:
            model._meta.get_field(parts[0])
        except FieldDoesNotExist:
            if len(parts) == 1 and hasattr(model, source):
                self._call = self._attribute(source)
                return
            raise ImproperlyConfigured(
                f"{self.where}: {model._meta.label} has no field or attribute “{parts[0]}”. "
                f"Fields: {', '.join(sorted(field.name for field in model._meta.get_fields()))}."
            ) from None
        self._follow(model, parts)

    @staticmethod
    def _attribute(name: str) -> Callable[[Any], Any]:
        def read(product: Any) -> Any:
            value = getattr(product, name)
            return value() if callable(value) else value

        return read

    def _follow(self, model: type[models.Model], parts: list[str]) -> None:
        """Walk the path once, to learn which relations to fetch along; a path may end at a relation."""
        relations: list[str] = []
        many = False
        current = model
        for index, part in enumerate(parts):
            try:
                field = current._meta.get_field(part)
            except FieldDoesNotExist:
                raise ImproperlyConfigured(f"{self.where}: {current._meta.label} has no field “{part}”.") from None
            if not field.is_relation:
                if index + 1 < len(parts):
                    raise ImproperlyConfigured(f"{self.where}: “{part}” is no relation, so nothing can follow it.")
                continue
            relations.append(part)
            many = many or bool(field.many_to_many or field.one_to_many)
            current = field.related_model  # type: ignore[assignment]
            if index + 1 == len(parts):
                title = guessing.title_field(current)
                if title is None:
                    raise ImproperlyConfigured(
                        f"{self.where}: “{'__'.join(parts)}” is a relation; name the field of "
                        f"{current._meta.label} that holds its name, as in “{'__'.join(parts)}__name”."
                    )
                parts = [*parts, title]
        self._parts = parts
        self.lookup = "__".join(parts)
        path = "__".join(relations)
        self.prefetch, self.select = (path, "") if many else ("", path)

    def __bool__(self) -> bool:
        return self._call is not None or self.lookup is not None

    def read(self, product: Any) -> str:
        """The value as text; empty when there is none. Of several related rows the first."""
        if self._call is not None:
            value = self._call(product)
        elif self._parts:
            value = self._walk(product)
        else:
            value = ""
        return "" if value is None else str(value)

    def _walk(self, product: Any) -> Any:
        value: Any = product
        for part in self._parts:
            value = getattr(value, part, None)
            if isinstance(value, models.Manager):
                rows = list(value.all())  # served from the prefetched rows where there are any
                value = rows[0] if rows else None
            if value is None:
                return None
        return value
