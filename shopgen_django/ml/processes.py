"""The processes that train one run together: which of them this one is, and sums over all of them.

A run in one process uses :data:`ALONE`, whose sums cost nothing; :mod:`.together` has the kind that talks to others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Processes:
    """One process alone, or (in :class:`~.together.Together`) one of several."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        """``rank`` 0 is the one that writes, evaluates and talks to the host."""

    def rows(self, total: int) -> tuple[int, int]:
        """First row and end of this process' part of a batch of ``total``; parts differ by at most one row."""
        return total * self.rank // self.count, total * (self.rank + 1) // self.count

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, of one shape everywhere, by its sum over all processes; one message for all of them."""

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest of each number over all processes."""
        return list(values)

    def from_first(self, value: Any) -> Any:
        """What process 0 has: a value of JSON, or bytes. What the others give is not looked at."""
        return value

    def compare(self, tensors: Mapping[str, Tensor]) -> None:
        """Make sure that all processes have the same tensors.

        Raises:
            Diverged: they don't.
        """

    def close(self) -> None:
        """Say good-bye to the others."""


ALONE = Processes()
