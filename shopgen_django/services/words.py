"""The words that planned work would give its models to read: shown before anything is queued."""

from __future__ import annotations

import json
from collections.abc import Sequence

from shopgen_django.jobs.subject import product_category
from shopgen_django.operations.base import Words

from .submit import Planned


def words_of(planned: Sequence[Planned]) -> list[tuple[Words, ...]]:
    """For each of these, in their order, what its model would read: () for operations without words.

    The same words are worked out once, however many jobs have them. Writes nothing.
    """
    known: dict[tuple[str, str, str, str], tuple[Words, ...]] = {}
    found = []
    for plan in planned:
        title, category = plan.target.label, _category(plan)
        params = json.dumps(plan.params, sort_keys=True, default=str)
        key = (plan.operation.name, title, category, params)
        if key not in known:
            known[key] = plan.operation.words(plan.params, title=title, category=category)
        found.append(known[key])
    return found


def _category(plan: Planned) -> str:
    """As a worker will find it: that of the picture, else that of the product."""
    pictured = plan.inputs[0].category if plan.inputs else ""
    return pictured or plan.target.category or product_category(plan.target.catalogue, plan.target.object_pk)
