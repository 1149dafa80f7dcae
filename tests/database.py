"""The database of a settings module: PostgreSQL where ``SHOPGEN_TEST_POSTGRES`` names one, else its own."""

from __future__ import annotations

import os
from typing import Any


def postgres_or(embedded: dict[str, Any]) -> dict[str, Any]:
    """An entry of ``DATABASES``. The variable is ``host=... dbname=... user=... [port=...]``."""
    named = os.environ.get("SHOPGEN_TEST_POSTGRES")
    if not named:
        return embedded
    parts = dict(part.split("=", 1) for part in named.split())
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts["dbname"],
        "USER": parts["user"],
        "HOST": parts["host"],
        "PORT": parts.get("port", ""),
        "CONN_MAX_AGE": 60,
    }
