"""Engine behind ``repair``: the classical one, which needs nothing fetched; larger models take its place by alias."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from .base import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from shopgen_django.imaging.repair import Repaired


class RepairEngine(Engine, ABC):
    """Fills holes, and says where they may be."""

    @abstractmethod
    def find(self, image: Image.Image, *, scratches: bool, dust: bool) -> Image.Image:
        """Mask (``L``, 255 = damage) of the picture's size."""

    @abstractmethod
    def fill(
        self, image: Image.Image, hole: NDArray[np.bool_], *, method: str, feather: int,
        check: Callable[[float], object] | None = None,
    ) -> Repaired:
        """See :func:`shopgen_django.imaging.repair.fill`; nothing outside ``hole`` may change."""


class Repair(RepairEngine):
    """Least bending for thin holes and plain ground, patches from around for the rest."""

    def find(self, image: Image.Image, *, scratches: bool, dust: bool) -> Image.Image:
        from shopgen_django.imaging.repair import find_damage

        return find_damage(image, scratches=scratches, dust=dust)

    def fill(
        self, image: Image.Image, hole: NDArray[np.bool_], *, method: str, feather: int,
        check: Callable[[float], object] | None = None,
    ) -> Repaired:
        from shopgen_django.imaging.repair import fill

        return fill(image, hole, method=method, feather=feather, check=check)
