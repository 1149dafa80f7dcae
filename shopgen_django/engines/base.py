"""What an engine must do. Engines take plain values, never model rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image


class ModelLike(Protocol):
    """The part of :class:`shopgen_django.operations.base.ModelFiles` that engines use."""

    @property
    def id(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def weights_sha256(self) -> str: ...


class Engine:
    """Constructed once per process with the alias's OPTIONS as keyword arguments."""

    alias: str = ""
    """Where it stands in the settings; "" for one that was made by hand."""
    metered: bool = False
    """Whether it asks a server, so that budgets count its requests; it tells ``spending.purse()`` of each."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def check(self) -> list[str]:
        """Problems with the configuration, in plain words; must not import torch."""
        return []

    def identity(self) -> str:
        """What does the work, so exactly that results of unlike ones are told apart; must not import torch."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def free(self) -> None:
        """Give memory back (loaded weights)."""
        return None


class GeneratorEngine(Engine, ABC):
    """Makes pictures from a trained model."""

    @abstractmethod
    def generate(
        self, *, model: ModelLike, count: int, category: str | None, seed: int, truncation: float,
        device: str = "cpu", threads: int = 1,
    ) -> Iterator[tuple[Image.Image, str]]:
        """Yield ``count`` pictures (RGB, L or RGBA, 8 bit) with the category of each ("" when there are none).

        The i-th picture of a seed is the same however many are asked for.
        """
