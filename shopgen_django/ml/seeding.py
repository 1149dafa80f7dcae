"""Randomness as a pure function of (seed, purpose, position): nothing to save, nothing to restore.

Numbers are always drawn on the CPU and then moved, so that a GPU sees the same ones. Code that runs within a step draws
with :func:`uniform`, :func:`normal` and :func:`whole`, never with ``torch.rand``: then a batch that is dealt out to
several processes, or worked through in parts, sees exactly the numbers of the batch that is done in one go.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .positions import derive


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one purpose at one position."""
    return torch.Generator().manual_seed(derive(seed, *parts))


class PartRng:
    """The numbers of rows ``start .. stop`` of a batch of ``total`` rows, taken from those of the whole batch.

    Every draw makes the whole batch's numbers and keeps its rows. It is no ``torch.Generator`` on purpose: code that
    draws past the functions below fails at once instead of giving all parts the same numbers.
    """

    def __init__(self, source: torch.Generator, start: int, stop: int, total: int) -> None:
        self.start, self.stop, self.total = start, stop, total
        self._source = source

    def rows(self, n: int, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """``n`` rows: as many as the part has, or a multiple (real and made pictures one after the other)."""
        mine = self.stop - self.start
        groups, rest = divmod(n, mine)
        if rest or not groups:
            raise ValueError(f"{n} rows were asked for a part of {mine}; it must be a multiple.")
        drawn = draw(groups * self.total, self._source)
        return drawn.view(groups, self.total, *drawn.shape[1:])[:, self.start : self.stop].flatten(0, 1)

    def shared(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Something that is the same for all parts."""
        return draw(self._source)

    def get_state(self) -> Tensor:
        """The place in the stream of numbers, as of ``torch.Generator``."""
        return self._source.get_state()

    def set_state(self, state: Tensor) -> None:
        """Go back or forth to a place."""
        self._source.set_state(state)


Rng = torch.Generator | PartRng


def part_of(rng: Rng, start: int, stop: int, total: int) -> PartRng:
    """Numbers for rows ``start .. stop`` of the ``total`` that ``rng`` draws for; ``rng`` itself stays in place."""
    source = torch.Generator()
    source.set_state(rng.get_state())
    if isinstance(rng, PartRng):
        return PartRng(source, rng.start + start, rng.start + stop, rng.total)
    return PartRng(source, start, stop, total)


def _rows(rng: Rng, n: int, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
    return rng.rows(n, draw) if isinstance(rng, PartRng) else draw(n, rng)


def uniform(rng: Rng, n: int, *shape: int) -> Tensor:
    """``(n, *shape)`` numbers in 0..1; a row per picture."""
    return _rows(rng, n, lambda count, source: torch.rand(count, *shape, generator=source))


def normal(rng: Rng, n: int, *shape: int) -> Tensor:
    """``(n, *shape)`` standard normal numbers; a row per picture."""
    return _rows(rng, n, lambda count, source: torch.randn(count, *shape, generator=source))


def whole(rng: Rng, low: int, high: int, n: int, *shape: int) -> Tensor:
    """``(n, *shape)`` whole numbers in ``low .. high - 1``; a row per picture."""
    return _rows(rng, n, lambda count, source: torch.randint(low, high, (count, *shape), generator=source))


class Shuffle:
    """An endless stream of indices: each epoch is a new permutation of ``count``, a function of seed and epoch only.

    ``take(start, n)`` gives positions ``start .. start + n``; there is no state beyond a cache, so a run resumes
    at any position.
    """

    def __init__(self, count: int, seed: int, stream: str) -> None:
        self.count = count
        self._seed = seed
        self._stream = stream
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def take(self, start: int, n: int) -> NDArray[np.int64]:
        """``n`` indices from position ``start`` of the stream."""
        result = np.empty(n, dtype=np.int64)
        filled = 0
        while filled < n:
            epoch, offset = divmod(start + filled, self.count)
            part = self._epoch(epoch)[offset : offset + n - filled]
            result[filled : filled + len(part)] = part
            filled += len(part)
        return result

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._epochs:
            if len(self._epochs) > 1:
                self._epochs.pop(min(self._epochs))
            rng = np.random.default_rng(derive(self._seed, "shuffle", self._stream, epoch))
            self._epochs[epoch] = rng.permutation(self.count)
        return self._epochs[epoch]
