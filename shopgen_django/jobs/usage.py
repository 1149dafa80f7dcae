"""What is spent and set aside, counted in rows under one lock: two workers at once can't overrun a budget.

A job sets aside what it is expected to need when it is queued (:class:`UsageHold`); an attempt makes sure of its part
before its first request (:meth:`JobPurse.begin`); each request is written down (:class:`UsageEntry`) before it goes
out, in the transaction that looked whether there is room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Greatest
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.budgets import SECONDS_ENGINE, Budget, budgets, price_of
from shopgen_django.exceptions import BudgetSpent
from shopgen_django.models import ACTIVE_JOB_STATES, Job, JobState, UsageEntry, UsageHold
from shopgen_django.operations.base import Operation

# Guards "sum, then insert" on PostgreSQL; SQLite's IMMEDIATE transactions are serial already.
_BUDGET_LOCK = 0x53484F52


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a budget stands. ``held``: set aside for jobs that wait or run."""

    budget: Budget
    used: Decimal
    held: Decimal
    began: datetime
    renews: datetime

    @property
    def left(self) -> Decimal:
        """What more may be queued; never below 0."""
        return max(Decimal(0), self.budget.limit - self.used - self.held)

    @property
    def share(self) -> float:
        """Of the limit that is used or set aside, 0 to 1."""
        return float(min(Decimal(1), (self.used + self.held) / self.budget.limit))


@contextmanager
def counting() -> Iterator[None]:
    """A transaction in which nobody else counts."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_BUDGET_LOCK])
        yield


def concerns(budget: Budget, user: Any, groups: frozenset[str]) -> bool:
    """Whether what ``user`` (``None``: nobody in particular, as commands) spends counts for it."""
    if not (budget.users or budget.groups):
        return user is not None or not budget.each
    return user is not None and (user.get_username() in budget.users or bool(groups & set(budget.groups)))


def group_names(user: Any, wanted: Sequence[Budget]) -> frozenset[str]:
    """The user's groups; asked for only where a budget is for groups."""
    if user is None or not any(budget.groups for budget in wanted):
        return frozenset()
    return frozenset(user.groups.values_list("name", flat=True))


def standings(wanted: Sequence[Budget], user: Any, *, sure: bool = False) -> list[Standing]:
    """How these stand for ``user``; two queries however many they are.

    ``sure``: of what is set aside only the part that running attempts have made sure of.
    """
    if not wanted:
        return []
    bounds = [budget.bounds() for budget in wanted]
    spent: dict[str, Any] = {}
    held: dict[str, Any] = {}
    for number, (budget, (began, renews)) in enumerate(zip(wanted, bounds, strict=True)):
        when = Q(at__gte=began, at__lt=renews)
        spent[f"b{number}"] = Sum(budget.unit, filter=_matching(budget, user, "created_by") & when)
        held[f"b{number}"] = Sum(budget.unit, filter=_matching(budget, user, "job__created_by"))
    entries = UsageEntry.objects.filter(at__gte=min(began for began, _renews in bounds)).aggregate(**spent)
    holds = UsageHold.objects.filter(job__state__in=ACTIVE_JOB_STATES)
    if sure:
        holds = holds.filter(job__state=JobState.RUNNING, attempt=F("job__attempt"))
    aside = holds.aggregate(**held)
    return [
        Standing(
            budget=budget, used=_exact(entries[f"b{number}"]), held=_exact(aside[f"b{number}"]), began=began,
            renews=renews,
        )
        for number, (budget, (began, renews)) in enumerate(zip(wanted, bounds, strict=True))
    ]


def _exact(total: Any) -> Decimal:
    """Without the dust of floating point, to a millionth."""
    return Decimal(0) if total is None else Decimal(str(round(total, 6)))


def _matching(budget: Budget, user: Any, owner: str) -> Q:
    """The rows that count for a budget; ``owner`` is the path to who asked for the work."""
    found = Q(engine=SECONDS_ENGINE) if budget.unit == "seconds" else ~Q(engine=SECONDS_ENGINE)
    if budget.engines:
        found &= Q(engine__in=budget.engines)
    if budget.operations:
        found &= Q(operation__in=budget.operations)
    if budget.each:
        return found & Q(**{owner: user})
    if budget.users or budget.groups:
        model = get_user_model()
        people = model._base_manager.filter(
            Q(**{f"{model.USERNAME_FIELD}__in": budget.users}) | Q(groups__name__in=budget.groups)
        )
        found &= Q(**{f"{owner}__in": people.values("pk")})
    return found


def touched(rows: Sequence[UsageHold], user: Any) -> list[Budget]:
    """The budgets that pay for these."""
    wanted = budgets()
    groups = group_names(user, wanted)
    return [
        budget for budget in wanted
        if concerns(budget, user, groups) and any(part_of(budget, row) > 0 for row in rows)
    ]


def part_of(budget: Budget, row: UsageHold) -> Decimal:
    """What of a row counts for a budget, as far as the row says (who asked for it is not looked at)."""
    ours = (row.engine == SECONDS_ENGINE) == (budget.unit == "seconds")
    fits = (not budget.engines or row.engine in budget.engines) and (
        not budget.operations or row.operation in budget.operations
    )
    return _exact(getattr(row, budget.unit)) if ours and fits else Decimal(0)


def spent_text(standing: Standing) -> str:
    """How a budget stands, in one sentence."""
    return _("%(used)s of %(limit)s used, %(held)s set aside for work that waits or runs; it renews %(when)s.") % {
        "used": shown(standing.budget, standing.used), "held": shown(standing.budget, standing.held),
        "limit": limit_text(standing.budget), "when": _moment(standing.renews),
    }


def shown(budget: Budget, amount: Decimal) -> str:
    """An amount of a budget's unit as a number for people: money to the hundredth, or as fine as it is; of all else
    whole ones."""
    if budget.unit == "money":
        fine = amount.quantize(Decimal("0.01"))
        return str(formats.number_format(fine if fine == amount else amount.normalize(), use_l10n=True))
    return str(formats.number_format(amount.to_integral_value(), use_l10n=True))


def limit_text(budget: Budget) -> str:
    """The limit with its unit."""
    number, rounded = shown(budget, budget.limit), int(budget.limit)
    if budget.unit == "pictures":
        return ngettext("%(n)s picture", "%(n)s pictures", rounded) % {"n": number}
    if budget.unit == "requests":
        return ngettext("%(n)s request", "%(n)s requests", rounded) % {"n": number}
    if budget.unit == "seconds":
        return ngettext("%(n)s second of work", "%(n)s seconds of work", rounded) % {"n": number}
    return f"{number} {budget.currency}".rstrip()


def _moment(when: datetime) -> str:
    local = timezone.localtime(when) if timezone.is_aware(when) else when
    return formats.date_format(local, "SHORT_DATETIME_FORMAT")


def refusal(standing: Standing) -> BudgetSpent:
    """The error that says which budget is spent, how much of it, and when it renews."""
    now = timezone.now()
    error = BudgetSpent(
        _("The budget “%(name)s” does not pay for this: %(how)s")
        % {"name": standing.budget.label, "how": spent_text(standing)},
        retry_after=max(1, int((standing.renews - now).total_seconds()) + 1),
    )
    error.fields = {
        "budget": [standing.budget.name], "used": [str(standing.used)], "held": [str(standing.held)],
        "limit": [str(standing.budget.limit)], "unit": [standing.budget.unit],
        "renews": [standing.renews.isoformat()],
    }
    return error


class JobPurse:
    """Pays for one attempt of a job."""

    def __init__(self, job: Job, token: int, operation: Operation, params: Mapping[str, Any]) -> None:
        self._job, self._token = job, token
        self._parts = operation.parts(params)

    def begin(self, engine: str, *, requests: int, pictures: int = 0) -> None:
        """Make sure of what the job set aside, and of so much at least. Raises BudgetSpent."""
        if not budgets():
            return
        with counting():
            row = self._row(engine)
            again = row.attempt != self._token
            row.attempt = self._token
            row.requests, row.pictures = max(row.requests, requests), max(row.pictures, pictures)
            row.money = row.requests * price_of(engine)
            self._require(row, own=row, again=again)
            row.save()

    def spend(self, engine: str, *, pictures: int = 0) -> None:
        """Write one request down. Raises BudgetSpent when nothing is left for it."""
        price = price_of(engine)
        with counting():
            row = self._row(engine)
            sure = row.attempt == self._token and row.requests >= 1 and row.pictures >= pictures
            if not sure and budgets():
                one = UsageHold(
                    job=self._job, engine=engine, operation=row.operation, requests=1, pictures=pictures, money=price
                )
                self._require(one)
            UsageEntry.objects.create(
                job=self._job, attempt=self._token, operation=row.operation, engine=engine, requests=1,
                pictures=pictures, money=price, created_by_id=self._job.created_by_id,
            )
            if row.pk:
                UsageHold.objects.filter(pk=row.pk).update(
                    requests=Greatest(F("requests") - 1, 0), pictures=Greatest(F("pictures") - pictures, 0),
                    money=Greatest(F("money") - price, Decimal(0)),
                )

    def _row(self, engine: str) -> UsageHold:
        found = UsageHold.objects.filter(job=self._job, engine=engine).first()
        return found or UsageHold(job=self._job, engine=engine, operation=self._operation(engine))

    def _operation(self, engine: str) -> str:
        """Of a chain the first step that asks this engine."""
        return next((part.name for part in self._parts if engine in part.engines), self._job.operation)

    def _require(self, wanted: UsageHold, *, own: UsageHold | None = None, again: bool = True) -> None:
        """Room for ``wanted`` beside what is spent and what running attempts have made sure of.

        ``own``: the row as it will be; what it holds already is not counted twice.
        """
        user = self._job.created_by
        known = UsageHold.objects.filter(pk=own.pk).first() if own is not None and own.pk and not again else None
        for standing in standings(touched([wanted], user), user, sure=True):
            mine = part_of(standing.budget, known) if known is not None else Decimal(0)
            if standing.used + standing.held - mine + part_of(standing.budget, wanted) > standing.budget.limit:
                raise refusal(standing)


def record_time(job: Job, attempt: int, seconds: float) -> None:
    """Write the time of an attempt down, where a budget counts it."""
    if seconds > 0 and any(budget.unit == "seconds" for budget in budgets()):
        UsageEntry.objects.create(
            job=job, attempt=attempt, operation=job.operation, engine=SECONDS_ENGINE, seconds=round(seconds, 6),
            created_by_id=job.created_by_id,
        )
