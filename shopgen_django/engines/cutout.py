"""Engine behind ``cut_out``, ``background`` and whatever else needs to know where the product is."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import PermanentError

from .base import Engine

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder

RECOMMENDED = ("u2netp",)
"""Networks that ``MODEL: "auto"`` looks for in the folder of networks, best first."""


class CutoutEngine(Engine, ABC):
    """Finds products."""

    @abstractmethod
    def finder(self, *, threads: int = 1) -> Finder | None:
        """What :func:`shopgen_django.imaging.cutout.cut_out` takes; ``None``: the classical finder alone.

        Raises PermanentError when the network that is configured can't be used.
        """


class Cutout(CutoutEngine):
    """The classical finder, or a network of the folder of networks (``manage.py shopgen_model``).

    ``MODEL`` is "auto" (a recommended network when one has been added, else none), "classical", or a network's name.
    """

    def __init__(self, *, MODEL: str = "auto", **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model = MODEL
        self._loaded: dict[tuple[str, int], Finder] = {}
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        if self._model not in ("auto", "classical") and self._folder() is None:
            return [f"There is no network {self._model!r}. Add it with: manage.py shopgen_model add {self._model}"]
        return []

    def identity(self) -> str:
        """"classical", or the network's name with the beginning of its hash; one that is missing is named all the same,
        since its results will differ from the classical ones."""
        from shopgen_django.imaging.cutout.network import NetworkError, read_card

        folder = self._folder()
        if folder is None:
            return "classical" if self._model in ("auto", "classical") else f"{self._model} (missing)"
        try:
            return f"{folder.name} {str(read_card(folder)['sha256'])[:12]}"
        except NetworkError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

    def folder(self) -> Path | None:
        """Where the network in use lies; ``None`` for the classical finder."""
        return self._folder()

    def finder(self, *, threads: int = 1) -> Finder | None:
        folder = self._folder()
        if folder is None:
            if self._model not in ("auto", "classical"):
                raise PermanentError(self.check()[0], code="model_unavailable")
            return None
        from shopgen_django.imaging.cutout.network import NetworkError, OnnxFinder, read_card

        try:
            key = (str(read_card(folder)["sha256"]), threads)
            with self._lock:
                if key not in self._loaded:
                    self._loaded = {key: OnnxFinder(folder, threads=threads)}
                return self._loaded[key]
        except NetworkError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

    def free(self) -> None:
        with self._lock:
            self._loaded.clear()

    def _folder(self) -> Path | None:
        names = RECOMMENDED if self._model == "auto" else () if self._model == "classical" else (self._model,)
        for name in names:
            folder = Path(app_settings.root) / "models" / name
            if (folder / "model.json").is_file():
                return folder
        return None
