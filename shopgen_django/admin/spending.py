"""Budgets in plain words: a page of their own, and what is left on the page that queues work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from shopgen_django.services.budgets import Outlook, Standing, budget_standings, limit_text, outlook, shown
from shopgen_django.services.submit import Planned

from .display import operation_label


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One budget for people."""

    label: str
    period: str
    pays_for: str
    limit: str
    used: str
    held: str
    left: str
    percent: int
    spent: bool
    renews: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A budget on the page that queues work: what is left, and whether that is enough."""

    text: str
    fits: bool


def rows(user: Any) -> list[Row]:
    """The budgets that ``user`` may know of."""
    return [_row(standing) for standing in budget_standings(user)]


def _row(standing: Standing) -> Row:
    budget = standing.budget
    return Row(
        label=budget.label, period=_("a day") if budget.period == "day" else _("a month"), pays_for=_pays_for(standing),
        limit=limit_text(budget), used=shown(budget, standing.used), held=shown(budget, standing.held),
        left=shown(budget, standing.left), percent=round(100 * standing.share), spent=standing.left <= 0,
        renews=timezone.localtime(standing.renews) if timezone.is_aware(standing.renews) else standing.renews,
    )


def _pays_for(standing: Standing) -> str:
    budget = standing.budget
    parts = [operation_label(name) for name in budget.operations] or [_("all operations")]
    text = ", ".join(map(str, parts))
    if budget.engines:
        text += _(", engines %(names)s") % {"names": ", ".join(budget.engines)}
    if budget.each:
        text += _("; for each user alone")
    elif budget.users or budget.groups:
        text += _("; for %(names)s") % {"names": ", ".join((*budget.groups, *budget.users))}
    return text


def left_for(planned: Sequence[Planned], user: Any) -> list[Left]:
    """What the budgets that would pay for this have left; nothing where none would."""
    work = [(plan.operation, plan.params, len(plan.inputs), plan.seconds) for plan in planned]
    return [_left(each) for each in outlook(work, user)]


def _left(each: Outlook) -> Left:
    standing = each.standing
    text = _("Budget “%(name)s”: %(left)s left of %(limit)s %(period)s; this takes %(wanted)s.") % {
        "name": standing.budget.label, "left": shown(standing.budget, standing.left),
        "limit": limit_text(standing.budget), "wanted": shown(standing.budget, each.wanted),
        "period": _("a day") if standing.budget.period == "day" else _("a month"),
    }
    return Left(text=text, fits=each.fits)
