"""``SHOPGEN["BUDGETS"]`` read: what may be spent in a day or a month, on what, by whom.

Only settings are read here; what has been spent stands in rows (:mod:`shopgen_django.jobs.usage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .conf import app_settings

UNITS = ("pictures", "requests", "seconds", "money")
PERIODS = ("day", "month")
SECONDS_ENGINE = ""
"""Stands where an engine's alias would, for the time of workers."""
_KEYS = ("LABEL", "UNIT", "LIMIT", "PERIOD", "ENGINES", "OPERATIONS", "USERS", "GROUPS", "EACH", "CURRENCY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit. Empty ``engines`` or ``operations``: all of them; neither ``users`` nor ``groups``: the whole shop.

    ``limit`` in units: pictures asked of engines over a server, requests to such, seconds of workers, or money.
    ``each``: every user has it for themselves; otherwise those it is for share it.
    """

    name: str
    label: str
    unit: str
    limit: Decimal
    period: str
    engines: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    each: bool = False
    currency: str = ""
    """What people read beside amounts of money."""

    def bounds(self, now: datetime | None = None) -> tuple[datetime, datetime]:
        """When the period that ``now`` lies in began, and when the next one does: midnight in ``TIME_ZONE``."""
        now = now or timezone.now()
        aware = timezone.is_aware(now)
        day = (timezone.localtime(now, timezone.get_default_timezone()) if aware else now).replace(
            hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0
        )
        if self.period == "month":
            day = day.replace(day=1)
            following = (day + timedelta(days=32)).replace(day=1)
        else:
            following = day + timedelta(days=1)
        if not aware:
            return day, following
        zone = timezone.get_default_timezone()
        return timezone.make_aware(day, zone), timezone.make_aware(following, zone)


def budgets() -> tuple[Budget, ...]:
    """All of them, by name. Raises ImproperlyConfigured for settings that the system checks would refuse: what can't be
    read is no leave to spend."""
    found = []
    for name, entry in sorted(app_settings.BUDGETS.items()):
        problems = problems_of(name, entry)
        if problems:
            raise ImproperlyConfigured(f"SHOPGEN['BUDGETS']: {problems[0]}")
        found.append(
            Budget(
                name=name, label=entry.get("LABEL") or name, unit=entry["UNIT"],
                limit=Decimal(str(entry["LIMIT"])), period=entry["PERIOD"], each=bool(entry.get("EACH", False)),
                currency=entry.get("CURRENCY", ""),
                **{key.lower(): tuple(entry.get(key) or ()) for key in ("ENGINES", "OPERATIONS", "USERS", "GROUPS")},
            )
        )
    return tuple(found)


def price_of(engine: str) -> Decimal:
    """What one request to an engine costs (``ENGINES[alias]["PRICE"]``), in the shop's money; 0 where none is given."""
    entry = app_settings.ENGINES.get(engine)
    price = entry.get("PRICE") if isinstance(entry, Mapping) else None
    if price is None:
        return Decimal(0)
    if not is_amount(price, zero=True):
        raise ImproperlyConfigured(f"SHOPGEN['ENGINES'][{engine!r}]['PRICE'] must be a number, not {price!r}.")
    return Decimal(str(price))


def is_amount(value: object, *, zero: bool = False) -> bool:
    """Whether it is a finite number above 0 (``zero``: or 0), also as a text or a Decimal."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return False
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return False
    return number.is_finite() and (number > 0 or (zero and number == 0))


def problems_of(name: object, entry: object) -> list[str]:
    """What is wrong with one entry of ``SHOPGEN["BUDGETS"]``, in plain words."""
    if not isinstance(name, str) or not name:
        return [f"a budget's name must be a text, not {name!r}."]
    if not isinstance(entry, Mapping):
        return [f"{name!r} must be a dict with UNIT, LIMIT and PERIOD, not {entry!r}."]
    found = []
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    if unknown:
        found.append(f"{name!r} has unknown keys: {', '.join(unknown)}. Known are: {', '.join(_KEYS)}.")
    for key, known in (("UNIT", UNITS), ("PERIOD", PERIODS)):
        if entry.get(key) not in known:
            found.append(f"{name!r}: {key} must be one of {', '.join(known)}, not {entry.get(key)!r}.")
    if not is_amount(entry.get("LIMIT")):
        found.append(f"{name!r}: LIMIT must be a number above 0, not {entry.get('LIMIT')!r}.")
    for key in ("ENGINES", "OPERATIONS", "USERS", "GROUPS"):
        value: Any = entry.get(key, [])
        if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
            found.append(f"{name!r}: {key} must be a list of names, not {value!r}.")
    for key in ("LABEL", "CURRENCY"):
        if not isinstance(entry.get(key, ""), str):
            found.append(f"{name!r}: {key} must be a text, not {entry.get(key)!r}.")
    if not isinstance(entry.get("EACH", False), bool):
        found.append(f"{name!r}: EACH must be True or False, not {entry.get('EACH')!r}.")
    if entry.get("UNIT") == "seconds" and entry.get("ENGINES"):
        found.append(f"{name!r}: seconds are counted for workers, not for ENGINES; use OPERATIONS to narrow them.")
    return found
