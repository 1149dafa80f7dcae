"""What a family provides and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a family may know about the pictures when it chooses its settings."""

    count: int
    size: int
    channels: int
    categories: int
    """Number of categories; 0 when there are none or the run doesn't use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Material of one step. Pictures are ``(n, c, h, w)`` float in -1..1 on the run's device, labels ``(n,)`` int64.

    ``real_again`` are other real pictures, for losses whose generator step looks at real ones. ``rng`` is a CPU
    generator seeded with (seed, step): draw everything random from it, in a fixed order.
    """

    real: Tensor
    labels: Tensor
    real_again: Tensor
    labels_again: Tensor
    rng: torch.Generator
    images_seen: int
    """Before this step."""


class Generator(nn.Module):
    """Base of the networks that make pictures: ``forward(latents, labels) -> pictures`` in -1..1.

    ``latents`` is ``(n, latent)`` from :meth:`draw`; ``labels`` ``(n,)`` int64, ignored without categories.
    """

    latent: int

    def draw(self, rng: torch.Generator, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """``(n, latent)`` random vectors on the CPU for pictures of these categories: standard normal here.

        The vector of a row depends on the numbers drawn before it; ``truncation`` below 1 pulls it to the middle.
        """
        return torch.randn(len(labels), self.latent, generator=rng) * truncation


class Learner(ABC):
    """Networks and optimisers of a run, and the step that trains them."""

    generator: Generator

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything with parameters or buffers, by name, the generator among them: what a checkpoint holds."""

    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers, by name."""

    @abstractmethod
    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """One update. Returns figures as detached scalars on the device (no ``.item()`` here: it would stall a GPU)."""

    @abstractmethod
    def flops_per_image(self) -> float:
        """Floating-point operations of one step divided by the batch size, closed form."""


class Family(ABC):
    """A kind of generator."""

    name: str
    losses: tuple[str, ...]
    """Names that ``--loss`` may take; the first is the default."""

    @abstractmethod
    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        """Values for the options of ``config`` that are ``None``."""

    @abstractmethod
    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        """Plain values (JSON) from which :meth:`build_generator` makes the same network again."""

    @abstractmethod
    def build_generator(self, spec: Mapping[str, Any]) -> Generator:
        """The generator's network, freshly initialised."""

    @abstractmethod
    def create(self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures) -> Learner:
        """Networks and optimisers, initialised from ``config.seed`` and the pictures alone."""
