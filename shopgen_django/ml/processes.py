"""The processes that train one run together: which of them this one is, and sums over all of them.

A run in one process uses :data:`ALONE`, whose sums cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """One process alone; :mod:`.together` has the kind that talks to others."""

    rank: int = 0
    """0 is the one that writes, evaluates and talks to the host."""
    count: int = 1

    def rows(self, total: int) -> tuple[int, int]:
        """First row and end of this process' part of a batch of ``total``; parts differ by at most one row."""
        return total * self.rank // self.count, total * (self.rank + 1) // self.count

    def sum_(self, values: Tensor) -> None:
        """Replace ``values``, a flat tensor of one size everywhere, by its sum over all processes."""

    def largest(self, values: list[float]) -> list[float]:
        """The largest of each number over all processes."""
        return values

    def from_first(self, value: Any) -> Any:
        """What process 0 has: a value of JSON, or bytes."""
        return value

    def compare(self, tensors: Mapping[str, Tensor]) -> None:
        """Make sure that all processes have the same tensors.

        Raises:
            Diverged: they don't.
        """

    def close(self) -> None:
        """Say good-bye to the others."""


ALONE = Processes()
