"""What new work would spend is set aside when it is queued, or the work is refused; and how budgets stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from shopgen_django.budgets import SECONDS_ENGINE, Budget, budgets, price_of
from shopgen_django.engines import get_engine
from shopgen_django.jobs.usage import (
    Standing,
    concerns,
    counting,
    group_names,
    limit_text,
    part_of,
    refusal,
    shown,
    standings,
    touched,
)
from shopgen_django.models import Job, UsageHold
from shopgen_django.operations.base import Operation

__all__ = [
    "Outlook", "Standing", "budget_standings", "expected", "limit_text", "outlook", "pay_again", "set_aside", "shown",
]  # fmt: skip


def expected(job: Job, operation: Operation, inputs: int, *, seconds: float) -> list[UsageHold]:
    """What a job would spend, one row for each engine over a server and one for the worker's time, not yet written;
    nothing where the shop has no budgets."""
    return _expected(job, operation, job.params, inputs, seconds) if budgets() else []


def pay_again(job: Job, operation: Operation) -> None:
    """Set aside once more what a job would spend that is to run again. Raises BudgetSpent.

    Call it in the transaction that queues it.
    """
    if not budgets():
        return
    params, inputs = dict(job.params), job.job_inputs.count()
    if job.params_version != operation.Parameters.version:
        params = operation.Parameters.upgrade(params, job.params_version)
    UsageHold.objects.filter(job=job).delete()
    rows = _expected(job, operation, params, inputs, operation.estimate(params, inputs).seconds)
    set_aside(rows, job.created_by)


def _expected(
    job: Job | None, operation: Operation, params: Mapping[str, Any], inputs: int, seconds: float
) -> list[UsageHold]:
    rows = [UsageHold(job=job, operation=operation.name, engine=SECONDS_ENGINE, seconds=max(0.0, seconds))]
    for engine, amount in operation.demand(params, inputs).items():
        if amount > 0 and _is_metered(engine):
            asks = next((part for part in operation.parts(params) if engine in part.engines), operation)
            rows.append(
                UsageHold(
                    job=job, operation=asks.name, engine=engine, requests=amount,
                    pictures=0 if asks.makes_texts else amount, money=amount * price_of(engine),
                )
            )
    return rows


def _is_metered(engine: str) -> bool:
    try:
        return get_engine(engine).metered
    except (ImproperlyConfigured, ImportError):  # told where the engine is used
        return False


def set_aside(rows: Sequence[UsageHold], user: Any) -> None:
    """Write these down, or refuse all (BudgetSpent) when a budget does not pay for them.

    Call it in the transaction that writes their jobs; few queries, however many there are.
    """
    if not rows:
        return
    user = user if getattr(user, "pk", None) else None
    with counting():
        UsageHold.objects.bulk_create(rows)
        for standing in standings(touched(rows, user), user):
            if standing.used + standing.held > standing.budget.limit:
                # What is told does not count the work that is refused.
                own = sum(part_of(standing.budget, row) for row in rows)
                raise refusal(
                    Standing(
                        budget=standing.budget, used=standing.used, held=standing.held - own, began=standing.began,
                        renews=standing.renews,
                    )
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a budget stands that new work would draw on, and what that would take."""

    standing: Standing
    wanted: Any
    """In the budget's unit (Decimal)."""

    @property
    def fits(self) -> bool:
        return bool(self.wanted <= self.standing.left)


def outlook(
    planned: Sequence[tuple[Operation, Mapping[str, Any], int, float]], user: Any
) -> list[Outlook]:
    """The budgets that work like this (operation, parameters, inputs, seconds) would draw on; writes nothing."""
    if not budgets():
        return []
    rows = [
        row for operation, params, inputs, seconds in planned
        for row in _expected(None, operation, params, inputs, seconds)
    ]
    return [
        Outlook(standing=standing, wanted=sum(part_of(standing.budget, row) for row in rows))
        for standing in standings(touched(rows, user), user)
    ]


def budget_standings(user: Any) -> list[Standing]:
    """How the budgets stand that ``user`` may know of: those that pay for them, and with ``view_job`` all.

    One that each user has for themselves is told as it stands for ``user``.
    """
    wanted: Sequence[Budget] = budgets()
    if not user.has_perm("shopgen.view_job"):
        groups = group_names(user, wanted)
        wanted = [budget for budget in wanted if concerns(budget, user, groups)]
    return standings(wanted, user)
