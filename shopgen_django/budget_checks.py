"""System checks of ``SHOPGEN["BUDGETS"]`` and of the engines' prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from .budgets import is_amount, price_of, problems_of
from .conf import app_settings

HINT = (
    'An entry is a name and {"UNIT": "pictures", "LIMIT": 500, "PERIOD": "month"}, with ENGINES, OPERATIONS, USERS, '
    "GROUPS and EACH on wish. See docs/settings.md."
)


def check_budgets(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Budgets that can't be read, that name what does not exist, or that can't count anything."""
    given = app_settings.BUDGETS
    if not isinstance(given, Mapping) or not isinstance(app_settings.ENGINES, Mapping):
        return []  # told as a wrong type
    found: list[CheckMessage] = list(_prices())
    for name, entry in given.items():
        problems = problems_of(name, entry)
        found += [Error(f"SHOPGEN['BUDGETS']: {text}", hint=HINT, id="shopgen.E022") for text in problems]
        if not problems:
            found += _names(name, entry)
    return found


def _prices() -> Iterator[CheckMessage]:
    for alias, entry in app_settings.ENGINES.items():
        price = entry.get("PRICE") if isinstance(entry, Mapping) else None
        if price is not None and not is_amount(price, zero=True):
            yield Error(
                f"SHOPGEN['ENGINES'][{alias!r}]['PRICE'] must be a number, 0 or more, not {price!r}.",
                hint="It is what one request costs, in the money that budgets count.", id="shopgen.E022",
            )


def _names(name: str, entry: Mapping[str, Any]) -> Iterator[CheckMessage]:
    from .operations.registry import all_operations

    where = f"SHOPGEN['BUDGETS'][{name!r}]"
    aliases = list(entry.get("ENGINES") or ())
    for key, known, hint in (
        ("ENGINES", set(app_settings.ENGINES), "Name aliases of SHOPGEN['ENGINES']."),
        ("OPERATIONS", {operation.name for operation in all_operations()}, "Name operations, as /operations/ does."),
    ):
        lost = sorted(set(entry.get(key) or ()) - known)
        if lost:
            yield Error(
                f"{where}: {key} names {', '.join(lost)}, which does not exist. Known are: {', '.join(sorted(known))}.",
                hint=hint, id="shopgen.E023",
            )
    if entry["UNIT"] == "seconds":
        return
    present = [alias for alias in aliases or app_settings.ENGINES if alias in app_settings.ENGINES]
    metered = [alias for alias in present if _is_metered(alias)]
    if not metered:
        yield Warning(
            f"{where} counts nothing: none of its engines asks a server.",
            hint="Pictures, requests and money are counted for engines over a server; for your own machines use "
            '"UNIT": "seconds".', id="shopgen.W012",
        )
    elif entry["UNIT"] == "money" and not any(_priced(alias) for alias in metered):
        yield Warning(
            f"{where} counts nothing: none of its engines has a price.",
            hint='Say what a request costs: "ENGINES": {"diffusion": {…, "PRICE": 0.04}}.', id="shopgen.W012",
        )


def _is_metered(alias: str) -> bool:
    """Ours are asked; what others do is only known when they run, so they count as such that may."""
    from .engines import get_engine

    entry = app_settings.ENGINES[alias]
    backend = entry.get("BACKEND") if isinstance(entry, Mapping) else ""
    if not str(backend).startswith("shopgen_django."):
        return True
    try:
        return get_engine(alias).metered
    except (ImproperlyConfigured, ImportError, TypeError, ValueError):
        return True  # told as a problem of the engine


def _priced(alias: str) -> bool:
    try:
        return price_of(alias) > 0
    except ImproperlyConfigured:
        return True  # told above
