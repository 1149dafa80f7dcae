"""Filters of the lists. None of them counts or reads a whole table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import connections, models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from shopgen_django.catalogues.registry import catalogue_aliases
from shopgen_django.models import Job
from shopgen_django.operations.registry import all_operations

MAX_VALUES = 200

_SKIP_SCAN = """
WITH RECURSIVE found(value) AS (
    SELECT MIN({column}) FROM {table} WHERE {column} > ''
    UNION ALL
    SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > found.value) FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL LIMIT {limit}
"""


def distinct_values(rows: QuerySet[Any], field: str) -> list[str]:
    """The values of an indexed text column, sorted, without the empty one.

    Hops from value to value in the index (PostgreSQL and SQLite plan DISTINCT as a scan of all rows); other databases
    are asked for DISTINCT.
    """
    connection = connections[rows.db]
    if connection.vendor not in {"postgresql", "sqlite"}:
        found = rows.exclude(**{field: ""}).order_by(field).values_list(field, flat=True).distinct()
        return list(found[:MAX_VALUES])
    meta = rows.model._meta
    quote = connection.ops.quote_name
    column = meta.get_field(field).column
    sql = _SKIP_SCAN.format(column=quote(column), table=quote(meta.db_table), limit=MAX_VALUES)
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


class CategoryFilter(admin.SimpleListFilter):
    """Categories that pictures have."""

    title = _("category")
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, value) for value in distinct_values(model_admin.model._default_manager.all(), "category")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(category=self.value()) if self.value() is not None else queryset


class OperationFilter(admin.SimpleListFilter):
    """Operations that are installed."""

    title = _("operation")
    parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # What was taken in is a source: no picture names the operation that did it, but jobs do.
        sources_too = model_admin.model is Job
        return [
            (operation.name, str(operation.label)) for operation in all_operations()
            if sources_too or not operation.takes_in
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(operation=self.value()) if self.value() is not None else queryset


class CatalogueFilter(admin.SimpleListFilter):
    """Configured catalogues; shown when there is more than one."""

    title = _("catalogue")
    parameter_name = "catalogue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        aliases = catalogue_aliases()
        return [(alias, alias) for alias in aliases] if len(aliases) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(catalogue=self.value()) if self.value() is not None else queryset


def by_uuid(term: str, rows: QuerySet[Any], *columns: str) -> QuerySet[Any] | None:
    """Rows whose key (or one of ``columns``) is the searched id; None when the term is no id."""
    from uuid import UUID

    try:
        key = UUID(term.strip())
    except ValueError:
        return None
    condition = models.Q(pk=key)
    for column in columns:
        condition |= models.Q(**{column: key})
    return rows.filter(condition)
