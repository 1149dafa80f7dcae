"""Showing small categories more often than their share of the photos.

A shop with 700 T-shirts and 20 hats would train on a hat once in 36 pictures. Here each category is shown in
proportion to the square root of its photos: the small ones are seen often enough to be learned, and a photo of a small
category is not repeated so often that it is learned by heart (the exponent 1/2 lies between the photos' own shares, 1,
and equal shares, 0; Mikolov et al. 2013 and Mahajan et al. 2018 chose it for the same reason).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .seeding import Shuffle

UNEVEN = 4.0
"""``auto`` balances from this ratio of the largest category to the smallest on."""
EXPONENT = 0.5


def is_uneven(labels: NDArray[np.int64]) -> bool:
    """Whether the largest category has over :data:`UNEVEN` times as many photos as the smallest."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return len(counts) > 1 and float(counts.max() / counts.min()) > UNEVEN


class BalancedShuffle:
    """An endless stream of indices like :class:`~.seeding.Shuffle`, with small categories more often.

    An epoch has as many positions as there are photos. Which category sits where is a permutation of a fixed deal;
    within a category its photos come in the order of its own endless shuffle, so that none comes twice before all came
    once. Position ``p`` is a function of seed and ``p`` alone.
    """

    def __init__(self, labels: NDArray[np.int64], seed: int, stream: str) -> None:
        self.count = len(labels)
        found, counts = np.unique(labels, return_counts=True)
        self.shares = counts**EXPONENT / (counts**EXPONENT).sum()
        """Share of the positions by category, in the order of the categories' numbers."""
        slots = _deal(self.shares, self.count)
        self._slots = np.repeat(np.arange(len(found)), slots)
        self._each = slots
        self._members = [np.flatnonzero(labels == label) for label in found]
        self._order = Shuffle(self.count, seed, f"{stream}/categories")
        self._within = [Shuffle(int(n), seed, f"{stream}/{label}") for label, n in zip(found, counts, strict=True)]

    def take(self, start: int, n: int) -> NDArray[np.int64]:
        """``n`` indices from position ``start`` of the stream."""
        result = np.empty(n, dtype=np.int64)
        filled = 0
        while filled < n:
            epoch, offset = divmod(start + filled, self.count)
            length = min(n - filled, self.count - offset)
            before = self._slots[self._order.take(epoch * self.count, offset)]
            here = self._slots[self._order.take(epoch * self.count + offset, length)]
            for category in np.unique(here):
                places = np.flatnonzero(here == category)
                first = epoch * int(self._each[category]) + int((before == category).sum())
                chosen = self._within[category].take(first, len(places))
                result[filled + places] = self._members[category][chosen]
            filled += length
        return result


def _deal(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """``total`` places dealt out by shares, at least one each, the largest remainders first."""
    exact = shares * total
    whole = np.maximum(1, np.floor(exact).astype(np.int64))
    order = np.argsort(whole - exact)
    for index in range(abs(total - int(whole.sum()))):
        if whole.sum() < total:
            whole[order[index % len(order)]] += 1
        else:
            whole[int(np.argmax(whole))] -= 1
    return whole
