"""Randomness as a pure function of (seed, purpose, position): nothing to save, nothing to restore.

Numbers are always drawn on the CPU and then moved, so that a GPU sees the same ones.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit number from a seed and what it is for; different parts give independent numbers."""
    text = "/".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one purpose at one position."""
    return torch.Generator().manual_seed(derive(seed, *parts))


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


def latents(rng: torch.Generator, count: int, length: int) -> Tensor:
    """``(count, length)`` standard normal numbers."""
    return torch.randn(count, length, generator=rng)
