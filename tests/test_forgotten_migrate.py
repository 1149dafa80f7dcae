"""The commands before ``migrate`` has run: one sentence that says what to do, and nothing done."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from shopgen_django.models import TrainingRun

COMMANDS = ("shopgen_worker", "shopgen_health", "shopgen_sweep", "shopgen_retention", "train_gan")


@pytest.mark.django_db
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_tables_says_migrate(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [name for name in connection.introspection.table_names() if not name.startswith("shopgen_")]
    monkeypatch.setattr(connection.introspection, "table_names", lambda *args, **kwargs: there)
    with pytest.raises(CommandError, match=r"no table shopgen_\w+ .*Run manage\.py migrate"):
        call_command(command)


@pytest.mark.django_db
def test_one_missing_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TrainingRun._meta.db_table
    there = [name for name in connection.introspection.table_names() if name != table]
    monkeypatch.setattr(connection.introspection, "table_names", lambda *args, **kwargs: there)
    with pytest.raises(CommandError, match=rf"no table {table} \(missing altogether: 1\)"):
        call_command("shopgen_health")
