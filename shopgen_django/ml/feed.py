"""Batches for the loop: a pure function of (seed, step), gathered from the decoded pictures in this process."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .balance import BalancedShuffle, is_uneven
from .config import TrainConfig
from .data import Pictures
from .families.base import Batch, DataFacts
from .processes import ALONE, Processes
from .seeding import Rng, Shuffle, generator, part_of, uniform


class FeedLike(Protocol):
    """What the loop asks of a feed."""

    diversity: float
    """Variety of the real pictures: :func:`variety`."""

    def batch(self, step: int) -> Batch:
        """This process' part of what step number ``step`` (from 0) trains on."""
        ...


def make_feed(
    pictures: Pictures, config: TrainConfig, facts: DataFacts, device: torch.device, processes: Processes = ALONE
) -> FeedLike:
    """The feed that a run needs: here is chosen between kinds of sampling."""
    if config.dp_epsilon is not None:
        from .privacy.session import private_feed

        return private_feed(pictures, config, facts, device)
    return Feed(pictures, config, facts, device, processes)


class Feed:
    """Makes the batch of any step; two streams of real pictures, one for each player's step.

    Every process works out the whole batch's indices and random numbers and takes its own rows, so that together they
    see what one process would: each picture of an epoch once.
    """

    def __init__(
        self,
        pictures: Pictures,
        config: TrainConfig,
        facts: DataFacts,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self._pictures = pictures
        self._seed = config.seed
        self._batch = config.batch_size or 1
        self._rows = processes.rows(self._batch)
        self._flip = config.flip
        self._conditional = facts.categories > 0
        self._device = device
        self._trained_on = pictures.trained_on
        labels = pictures.labels[self._trained_on]
        balanced = self._conditional and (config.balance == "on" or (config.balance == "auto" and is_uneven(labels)))
        self._streams: list[Shuffle | BalancedShuffle] = [
            BalancedShuffle(labels, config.seed, name) if balanced else Shuffle(len(labels), config.seed, name)
            for name in ("real", "again")
        ]
        self.diversity = variety(pictures.images)

    def batch(self, step: int) -> Batch:
        """What step number ``step`` (from 0) trains on."""
        rng: Rng = generator(self._seed, "step", step)
        if self._rows != (0, self._batch):
            rng = part_of(rng, *self._rows, self._batch)
        real, labels = self._take(0, step, rng)
        again, labels_again = self._take(1, step, rng)
        return Batch(
            real=real,
            labels=labels,
            real_again=again,
            labels_again=labels_again,
            rng=rng,
            images_seen=step * self._batch,
            total=self._batch,
        )

    def _take(self, stream: int, step: int, rng: Rng) -> tuple[Tensor, Tensor]:
        start, stop = self._rows
        positions = self._streams[stream].take(step * self._batch + start, stop - start)
        indices = self._trained_on[positions]
        pictures = torch.from_numpy(self._pictures.images[indices])
        labels = torch.from_numpy(self._pictures.labels[indices] if self._conditional else np.zeros_like(indices))
        if self._flip:
            mirrored = uniform(rng, len(indices)) < 0.5
            pictures = torch.where(mirrored.view(-1, 1, 1, 1), pictures.flip(3), pictures)
        if self._device.type == "cuda":
            pictures, labels = pictures.pin_memory(), labels.pin_memory()
        pictures = pictures.to(self._device, non_blocking=True)
        return pictures.float().div_(127.5).sub_(1.0), labels.to(self._device, non_blocking=True)


def variety(images: NDArray[np.uint8]) -> float:
    """Mean over pixels of the standard deviation over (up to 256) pictures, on the scale -1..1."""
    step = max(1, len(images) // 256)
    some = images[::step][:256].astype(np.float32) / 127.5 - 1.0
    return float(some.std(axis=0).mean())
