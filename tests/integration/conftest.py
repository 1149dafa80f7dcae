from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import PrivatePostgres, postgres_dsn, postgres_server

from .shop import Shop

__all__ = ["postgres_dsn", "postgres_server"]

_numbers = count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    shop = Shop(tmp_path_factory.mktemp("template"))
    shop.migrate()
    shop.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return shop.folder / "db.sqlite3"


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a migrated database to copy."""
    Shop(tmp_path_factory.mktemp("template"), dsn=postgres_server.create_database("engine_template")).migrate()
    return "engine_template"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A migrated shop, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        shop = _on_sqlite(request.getfixturevalue("sqlite_template"), tmp_path)
    else:
        server: PrivatePostgres = request.getfixturevalue("postgres_server")
        template: str = request.getfixturevalue("postgres_template")
        shop = Shop(tmp_path, dsn=server.create_database(f"engine_{next(_numbers)}", template=template))
    yield shop
    shop.close()


@pytest.fixture
def sqlite_shop(sqlite_template: Path, tmp_path: Path) -> Iterator[Shop]:
    """A migrated shop on SQLite alone."""
    shop = _on_sqlite(sqlite_template, tmp_path)
    yield shop
    shop.close()


def _on_sqlite(template: Path, folder: Path) -> Shop:
    shutil.copy(template, folder / "db.sqlite3")
    return Shop(folder)
