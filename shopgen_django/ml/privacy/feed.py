"""Poisson sampling: in each step every unit takes part with the same probability, whatever the others do.

The accountant's bound holds for this kind of sampling and for no other; a shuffled epoch is charged wrongly by it.
Batches therefore differ in length and may be empty.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.families.base import Batch, DataFacts
from shopgen_django.ml.seeding import Rng, generator, uniform

from .secret import stream
from .units import Units

NOMINAL_VARIETY = 0.3
"""Stands in for the photos' own variety, which a private run may not look at; photos on plain ground have about it."""


class PoissonFeed:
    """Makes the batch of any step, a pure function of (secret, seed, step).

    One picture of each chosen unit, drawn anew each time: however many photos a product has, it enters a step once.
    """

    def __init__(
        self,
        pictures: Pictures,
        units: Units,
        config: TrainConfig,
        facts: DataFacts,
        device: torch.device,
        *,
        sample_rate: float,
        secret: bytes,
    ) -> None:
        self.diversity = NOMINAL_VARIETY
        self._pictures = pictures
        self._units = units
        self._rate = sample_rate
        self._secret = secret
        self._seed = config.seed
        self._batch = config.batch_size or 1
        self._flip = config.flip
        self._conditional = facts.categories > 0
        self._device = device
        self._sizes = np.array([len(members) for members in units.members])

    def chosen(self, step: int) -> NDArray[np.int64]:
        """Indices of the pictures of a step: at most one of each unit."""
        count = self._units.count
        numbers = stream(self._secret, "sample", step, 2 * count)
        taking_part = np.flatnonzero(numbers[:count] < self._rate)
        which = (numbers[count:] * self._sizes).astype(np.int64)
        return np.array([self._units.members[unit][which[unit]] for unit in taking_part], dtype=np.int64)

    def batch(self, step: int) -> Batch:
        """What step number ``step`` (from 0) trains on. There are no ``real_again``: the generator sees no photos."""
        rng: Rng = generator(self._seed, "step", step)
        indices = self.chosen(step)
        pictures = torch.from_numpy(self._pictures.images[indices]).float().div_(127.5).sub_(1.0)
        labels = torch.from_numpy(self._pictures.labels[indices] if self._conditional else np.zeros_like(indices))
        if self._flip and len(indices):
            # From a stream of its own: the length of a private batch must not shift the numbers that follow.
            mirrored = uniform(generator(self._seed, "flip", step), len(indices)) < 0.5
            pictures = torch.where(mirrored.view(-1, 1, 1, 1), pictures.flip(3), pictures)
        return Batch(
            real=pictures.to(self._device),
            labels=labels.to(self._device),
            real_again=_none_of(pictures, self._device),
            labels_again=_none_of(labels, self._device),
            rng=rng,
            images_seen=step * self._batch,
        )


def _none_of(like: Tensor, device: torch.device) -> Tensor:
    return like[:0].to(device)
