"""Engine behind ``cut_out``, ``background`` and whatever else needs to know where the product is."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopgen_django.exceptions import PermanentError

from .base import Engine
from .networks import HeldNetwork, folder_of, identity_of, is_added, problems_of

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder

RECOMMENDED = ("u2netp",)
"""Networks that ``MODEL: "auto"`` looks for in the folder of networks, best first."""
PART = "cutout"
BUILT_IN = ("auto", "shipped", "classical")
"""Values of ``MODEL`` that name no folder."""


class CutoutEngine(Engine, ABC):
    """Finds products."""

    @abstractmethod
    def finder(self, *, threads: int = 1, device: str = "cpu") -> Finder | None:
        """What :func:`shopgen_django.imaging.cutout.cut_out` takes; ``None``: the classical finder alone. ``device``:
        the worker's.

        Raises PermanentError when the network that is configured can't be used.
        """

    def facts(self) -> Mapping[str, str]:
        """What the results of the last call carry of the network that found the product, as plain texts."""
        return {}


class Cutout(CutoutEngine):
    """The network that ships, or one of the folder of networks (``manage.py shopgen_model``).

    ``MODEL`` is "auto" (a recommended network when one has been added, else the one that ships), "shipped",
    "classical" (no network at all), or a network's name.
    """

    def __init__(self, *, MODEL: str = "auto", **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model = MODEL
        self._held: HeldNetwork[Finder] = HeldNetwork(PART, _load, *BUILT_IN)
        self._shipped: Finder | None = None
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        return [] if self._model in BUILT_IN else problems_of(self._model, PART, *BUILT_IN)

    def identity(self) -> str:
        """"classical", or the network's name with the beginning of its hash; one that is missing is named all the same,
        since its results will differ from the others'."""
        if self._model == "classical":
            return "classical"
        name = self._name()
        return _shipped_identity() if name is None else identity_of(name, PART)

    def network(self) -> str:
        """What the trainer's ``--cutout`` takes to find products as here: a folder, "shipped" or "classical"."""
        if self._model == "classical":
            return "classical"
        name = self._name()
        return "shipped" if name is None or not is_added(name) else str(folder_of(name))

    def finder(self, *, threads: int = 1, device: str = "cpu") -> Finder | None:
        if self._model == "classical":
            return None
        name = self._name()
        return self._shipped_finder(threads) if name is None else self._held.get(name, threads=threads)

    def _shipped_finder(self, threads: int) -> Finder:
        import torch

        from shopgen_django.ml.cutout_net import ShippedFinder
        from shopgen_django.ml.errors import ModelFileError

        torch.set_num_threads(max(1, threads))
        try:
            with self._lock:
                if self._shipped is None:
                    self._shipped = ShippedFinder()
                return self._shipped
        except ModelFileError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

    def free(self) -> None:
        self._held.free()
        with self._lock:
            self._shipped = None

    def _name(self) -> str | None:
        """The network that is used; None: the one that ships."""
        if self._model == "auto":
            return next((name for name in RECOMMENDED if is_added(name)), None)
        return None if self._model in BUILT_IN else self._model


def _load(folder: Path, *, threads: int) -> Finder:
    from shopgen_django.imaging.cutout.network import OnnxFinder

    return OnnxFinder(folder, threads=threads)


def _shipped_identity() -> str:
    from shopgen_django.ml.cards import shipped_identity
    from shopgen_django.ml.errors import ModelFileError

    try:
        return shipped_identity("cutout")
    except ModelFileError as error:
        raise PermanentError(str(error), code="model_unavailable") from error
