"""Who pays for what an engine sends away: asked before each request, by whoever runs the work.

Engines know no jobs. A worker lays a :class:`Purse` around the work; without one nothing is counted (tests, scripts).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Purse(Protocol):
    """Counts what is sent to engines over a server. Both raise BudgetSpent, and then nothing may be sent."""

    def begin(self, engine: str, *, requests: int, pictures: int = 0) -> None:
        """So many requests follow: set them aside, so that work is not stopped in its middle."""

    def spend(self, engine: str, *, pictures: int = 0) -> None:
        """One request goes out now, asking for so many pictures."""


class _Free:
    """Nobody counts."""

    def begin(self, engine: str, *, requests: int, pictures: int = 0) -> None:
        return None

    def spend(self, engine: str, *, pictures: int = 0) -> None:
        return None


_FREE: Purse = _Free()
_current: ContextVar[Purse] = ContextVar("shopgen_purse", default=_FREE)


def purse() -> Purse:
    """The one that pays for the work at hand."""
    return _current.get()


@contextmanager
def paid_by(payer: Purse) -> Iterator[None]:
    """Let ``payer`` be asked for all that is sent while the block runs."""
    before = _current.set(payer)
    try:
        yield
    finally:
        _current.reset(before)
