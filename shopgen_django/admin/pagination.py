"""Pages of long lists at a cost that does not grow with the table."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator

COUNTED_ROWS = 5_000
"""Rows that are counted and can be paged through; beyond them a filter or a search finds the rest."""


class BoundedPaginator(Paginator):
    """Counts no further than :data:`COUNTED_ROWS`, so neither the count nor the deepest OFFSET grows with the table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows[:COUNTED_ROWS].count())


class BoundedChangeList(ChangeList):
    """A change list that knows whether there are more rows than it counted."""

    @property
    def is_cut(self) -> bool:
        """Whether rows beyond the counted ones may exist."""
        return self.result_count >= COUNTED_ROWS
