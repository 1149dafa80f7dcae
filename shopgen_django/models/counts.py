"""Counts that stop counting: what they cost does not grow with the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import F, IntegerField, QuerySet
from django.db.models.expressions import RawSQL


def capped_count(rows: QuerySet[Any], limit: int) -> RawSQL:
    """The number of ``rows``, at most ``limit``, as a part of another query on the same database."""
    sql, params = _count(rows, limit)
    return RawSQL(sql, params, output_field=IntegerField())  # noqa: S611 Django wrote the SQL


def capped_counts(
    limit: int, *asked: QuerySet[Any], among: tuple[str, Sequence[str]] | None = None
) -> list[int]:
    """The number of rows of each query, at most ``limit``, all in one statement. They share one database.

    ``among``: a column and values; counted are those of the first ``limit`` rows, in the query's order, that have one.
    """
    parts, params = [], []
    for rows in asked:
        sql, own = _count(rows, limit, among)
        parts.append(f"({sql})")
        params += own
    with connections[asked[0].db].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        return [int(value) for value in cursor.fetchone()]


def _count(
    rows: QuerySet[Any], limit: int, among: tuple[str, Sequence[str]] | None = None
) -> tuple[str, list[Any]]:
    """Wrapped, because Django counts a slice only in a query of its own."""
    cut = (rows.order_by().values("pk") if among is None else rows.values(wanted=F(among[0])))[:limit]
    try:
        sql, params = cut.query.get_compiler(using=rows.db).as_sql()
    except EmptyResultSet:
        return "SELECT 0", []
    count, values = f"SELECT COUNT(*) FROM ({sql}) counted_rows", list(params)  # noqa: S608 likewise
    if among is not None:
        count += f" WHERE wanted IN ({', '.join(['%s'] * len(among[1]))})"
        values += among[1]
    return count, values
