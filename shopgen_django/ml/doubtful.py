"""Photos whose cut-out is doubtful: half a coat on white teaches a generator half coats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .sources import Entry

LOW_CONFIDENCE = 0.5
"""Under this confidence a cut-out is probably wrong."""

Picture = NDArray[np.uint8]


class Sieve:
    """Leaves doubtful cut-outs out, except where a category would have nothing without them.

    With ``alone`` there is no such exception: each photo is judged by itself. Private training needs that, since its
    promise is about one product more or less, and what becomes of a photo must not depend on the others.
    ``left_out`` holds (index, confidence) of those that are not used.
    """

    def __init__(self, *, leave_out: bool, alone: bool = False) -> None:
        self._leave_out, self._alone = leave_out, alone
        self._sure: set[str | None] = set()
        self._held: dict[str | None, list[tuple[int, Picture, float]]] = {}
        self.left_out: list[tuple[int, float]] = []

    def passes(self, index: int, category: str | None, picture: Picture, confidence: float | None) -> bool:
        """Whether this picture is used for certain; one that is not may come back in :meth:`rest`."""
        if not self._leave_out or confidence is None or confidence >= LOW_CONFIDENCE:
            self._sure.add(category)
            self.left_out += [(held, doubt) for held, _picture, doubt in self._held.pop(category, ())]
            return True
        if self._alone or category in self._sure:
            self.left_out.append((index, confidence))
        else:
            self._held.setdefault(category, []).append((index, picture, confidence))
        return False

    def rest(self) -> list[tuple[int, Picture]]:
        """The doubtful pictures of categories that have no other, as (index, picture)."""
        return [(index, picture) for category in sorted(self._held, key=str)
                for index, picture, _doubt in self._held[category]]  # fmt: skip

    def listed(self, entries: Sequence[Entry]) -> list[dict[str, object]]:
        """What was left out, for ``dataset.json``."""
        rows = sorted((entries[index].name, round(float(doubt), 4)) for index, doubt in self.left_out)
        return [{"file": name, "confidence": doubt} for name, doubt in rows]
