"""Before a command works: are the tables there?"""

from __future__ import annotations

from django.apps import apps
from django.core.management.base import CommandError
from django.db import connections, router

from shopgen_django.models import Job


def require_tables() -> None:
    """Stop with one sentence where ``migrate`` was forgotten, instead of with the traceback of the first query.

    Raises:
        CommandError: a table of this app does not exist.
        django.db.OperationalError: the database can't be reached.
    """
    connection = connections[router.db_for_write(Job)]
    present = set(connection.introspection.table_names())
    missing = [
        model._meta.db_table
        for model in apps.get_app_config("shopgen").get_models()
        if model._meta.managed and not model._meta.proxy and model._meta.db_table not in present
    ]
    if missing:
        raise CommandError(
            f"The database has no table {missing[0]} (missing altogether: {len(missing)}). "
            "Run manage.py migrate, then this again."
        )
