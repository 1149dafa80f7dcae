"""The statements that every job needs, written by Django once and kept: writing one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, cast

from django.db import connections, transaction
from django.db.models import F
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.db.models.sql import UpdateQuery

from shopgen_django.models import Job, JobState


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a value comes in that each execution brings along."""

    name: str


def _slot(name: str) -> RawSQL:
    return RawSQL("%s", (_Slot(name),))


def claimed(lease_seconds: float) -> dict[str, Any]:
    """What a claim writes besides the attempt and the worker's name."""
    return {
        "state": JobState.RUNNING, "heartbeat_at": Now(), "lease_until": Now() + timedelta(seconds=lease_seconds),
        "started_at": Now(), "progress": 0.0, "stage": "", "error_code": "", "error_detail": "", "updated_at": Now(),
    }


def claim_best(alias: str, *, queue: str, worker: str, lease_seconds: float) -> Job | None:
    """Take the best ready job of ``queue`` in one statement; None when none is ready.

    For databases whose UPDATE can say which row it changed.
    """
    database = connections[alias]
    sql, params = _claim(alias, queue, lease_seconds)
    with transaction.mark_for_rollback_on_error(using=alias), database.cursor() as cursor:
        cursor.execute(sql, _filled(params, {"worker": worker}))
        row = cursor.fetchone()
    if row is None:
        return None
    fields = Job._meta.concrete_fields
    values = []
    for field, value in zip(fields, row, strict=True):
        column = field.cached_col
        for convert in (*database.ops.get_db_converters(column), *column.get_db_converters(database)):
            value = convert(value, column, database)
        values.append(value)
    return Job.from_db(alias, [field.attname for field in fields], values)


@lru_cache(maxsize=64)
def _claim(alias: str, queue: str, lease_seconds: float) -> tuple[str, tuple[Any, ...]]:
    """Django writes the parts, so that every backend gets its own way with times."""
    database = connections[alias]
    update = UpdateQuery(Job)
    update.add_update_values({**claimed(lease_seconds), "attempt": F("attempt") + 1, "worker": _slot("worker")})
    change, change_params = update.get_compiler(using=alias).as_sql()
    best, best_params = Job.objects.using(alias).ready(queue).values("pk")[:1].query.get_compiler(using=alias).as_sql()
    # Other workers look past a row that somebody is just claiming; SQLite has one writer at a time anyway. So the row
    # that was found is still ready, and the UPDATE needs no condition but its key: a second one on the state would lead
    # PostgreSQL to read all that is queued as long as its statistics are old.
    skip = " FOR UPDATE SKIP LOCKED" if database.features.has_select_for_update_skip_locked else ""
    quote = database.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in Job._meta.concrete_fields)
    sql = f"{change} WHERE {quote('id')} = ({best}{skip}) RETURNING {columns}"
    return sql, (*change_params, *best_params)


def succeed(alias: str, job: Job, *, token: int, values: Mapping[str, Any]) -> bool:
    """Mark ``job`` as succeeded with these columns, if attempt ``token`` still holds it and nobody wants to cancel it.

    ``values`` are written besides those that every success sets. False: nothing was changed.
    """
    database = connections[alias]
    sql, params = _success(alias, tuple(sorted(values)))
    given = {"id": job.pk, "attempt": token, **values}
    fields = {field.name: field for field in Job._meta.concrete_fields}
    prepared = {name: fields[name].get_db_prep_save(value, database) for name, value in given.items()}
    with transaction.mark_for_rollback_on_error(using=alias), database.cursor() as cursor:
        cursor.execute(sql, _filled(params, prepared))
        return bool(cursor.rowcount)


@lru_cache(maxsize=64)
def _success(alias: str, names: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    mine = Job.objects.using(alias).filter(
        pk=_slot("id"), state=JobState.RUNNING, attempt=_slot("attempt"), cancel_requested_at__isnull=True
    )
    update = cast(UpdateQuery, mine.query.chain(UpdateQuery))
    update.add_update_values(
        {
            "state": JobState.SUCCEEDED, "lease_until": None, "finished_at": Now(), "heartbeat_at": Now(),
            "updated_at": Now(), "progress": 1.0, "stage": "", "lost_leases": 0,
            **{name: _slot(name) for name in names},
        }
    )
    sql, params = update.get_compiler(using=alias).as_sql()
    return sql, tuple(params)


def _filled(params: tuple[Any, ...], values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[param.name] if isinstance(param, _Slot) else param for param in params)
