"""Engine behind ``cut_out``, ``background`` and whatever else needs to know where the product is."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import PermanentError

from .base import Engine

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder

RECOMMENDED = ("u2netp",)
"""Networks that ``MODEL: "auto"`` looks for in the folder of networks, best first."""
BUILT_IN = frozenset({"auto", "shipped", "classical"})
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
        self._loaded: dict[tuple[str, int], Finder] = {}
        self._shipped: Finder | None = None
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        if self._model not in BUILT_IN and self._folder() is None:
            return [f"There is no network {self._model!r}. Add it with: manage.py shopgen_model add {self._model}"]
        return []

    def identity(self) -> str:
        """"classical", or the network's name with the beginning of its hash; one that is missing is named all the same,
        since its results will differ from the others'."""
        from shopgen_django.imaging.cutout.network import NetworkError, read_card

        if self._model == "classical":
            return "classical"
        folder = self._folder()
        if folder is None:
            return f"{self._model} (missing)" if self._model not in BUILT_IN else _shipped_identity()
        try:
            return f"{folder.name} {str(read_card(folder)['sha256'])[:12]}"
        except NetworkError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

    def network(self) -> str:
        """What the trainer's ``--cutout`` takes to find products as here: a folder, "shipped" or "classical"."""
        if self._model == "classical":
            return "classical"
        folder = self._folder()
        return "shipped" if folder is None else str(folder)

    def finder(self, *, threads: int = 1, device: str = "cpu") -> Finder | None:
        if self._model == "classical":
            return None
        folder = self._folder()
        if folder is None:
            if self._model not in BUILT_IN:
                raise PermanentError(self.check()[0], code="model_unavailable")
            return self._shipped_finder(threads)
        from shopgen_django.imaging.cutout.network import NetworkError, OnnxFinder, read_card

        try:
            key = (str(read_card(folder)["sha256"]), threads)
            with self._lock:
                if key not in self._loaded:
                    self._loaded = {key: OnnxFinder(folder, threads=threads)}
                return self._loaded[key]
        except NetworkError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

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
        with self._lock:
            self._loaded.clear()
            self._shipped = None

    def _folder(self) -> Path | None:
        names = RECOMMENDED if self._model == "auto" else () if self._model in BUILT_IN else (self._model,)
        for name in names:
            folder = Path(app_settings.root) / "models" / name
            if (folder / "model.json").is_file():
                return folder
        return None


def _shipped_identity() -> str:
    from shopgen_django.ml.cards import shipped_identity
    from shopgen_django.ml.errors import ModelFileError

    try:
        return shipped_identity("cutout")
    except ModelFileError as error:
        raise PermanentError(str(error), code="model_unavailable") from error
