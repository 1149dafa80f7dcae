"""Engine behind ``enlarge``: the small network that ships, or a classical filter."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shopgen_django.exceptions import PermanentError

from .base import Engine

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.ml.enlarge import LoadedDoubler

OnPart = Callable[[float], object]


class EnlargeEngine(Engine, ABC):
    """Makes pictures larger."""

    @abstractmethod
    def enlarge(
        self, image: Image.Image, *, factor: int, careful: bool = True, threads: int = 1, on_part: OnPart | None = None
    ) -> Image.Image:
        """``image`` (``L``, ``RGB``, ``RGBA``) ``factor`` (2 or 4) times as wide and high, of the same mode.

        ``careful``: where small print may be, nothing is made crisper than the photo. ``on_part`` hears the share that
        is done; what it raises ends the work. Raises PermanentError for weights that can't be used.
        """


class Enlarge(EnlargeEngine):
    """``MODEL`` is "shipped" (the network of this package) or "plain" (Lanczos, corrected; no PyTorch is loaded)."""

    def __init__(self, *, MODEL: str = "shipped", **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model = MODEL
        self._loaded: LoadedDoubler | None = None
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        if self._model not in ("shipped", "plain"):
            return [f"MODEL must be 'shipped' or 'plain', not {self._model!r}."]
        return []

    def identity(self) -> str:
        if self._model == "plain":
            return "plain"
        from shopgen_django.ml.cards import shipped_identity

        return shipped_identity("enlarge")

    def free(self) -> None:
        with self._lock:
            self._loaded = None

    def enlarge(
        self, image: Image.Image, *, factor: int, careful: bool = True, threads: int = 1, on_part: OnPart | None = None
    ) -> Image.Image:
        for problem in self.check():
            raise PermanentError(problem, code="wrong_engine")
        rounds = {2: 1, 4: 2}[factor]
        for number in range(rounds):
            # Of two rounds the second has four times as many pixels: its share of the work is 0.8.
            start, share = (0.0, 1.0) if rounds == 1 else ((0.0, 0.2), (0.2, 0.8))[number]
            image = self._double(image, careful, threads, _part_of(on_part, start, share))
        return image

    def _double(self, image: Image.Image, careful: bool, threads: int, on_part: OnPart | None) -> Image.Image:
        import numpy as np
        from PIL import Image as Pillow

        from shopgen_django.imaging.enlarging import bled, letters, plain_double, with_alpha

        colours = bled(image) if image.mode == "RGBA" else image.convert("RGB")
        array = np.asarray(colours, dtype=np.uint8)
        if self._model == "plain":
            made = plain_double(array)
        else:
            mask = letters(array) if careful else None
            made = self._network(threads).double(array, careful=mask, on_tile=on_part)
        result = Pillow.fromarray(made)
        if on_part is not None:
            on_part(1.0)
        if image.mode == "RGBA":
            return with_alpha(result, image.getchannel("A"))
        return result.convert(image.mode)

    def _network(self, threads: int) -> LoadedDoubler:
        import torch

        from shopgen_django.ml.enlarge import load_doubler
        from shopgen_django.ml.errors import MLError

        torch.set_num_threads(max(1, threads))
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = load_doubler()
                except MLError as error:
                    raise PermanentError(str(error), code="model_unavailable") from error
            return self._loaded


def _part_of(on_part: OnPart | None, start: float, share: float) -> OnPart | None:
    if on_part is None:
        return None
    return lambda done: on_part(start + share * done)
