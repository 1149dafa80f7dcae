"""Engine behind ``enlarge``: the small network that ships, or a classical filter."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from shopgen_django.exceptions import PermanentError

from .base import Engine
from .networks import HeldNetwork, identity_of, load_painter, problems_of

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from shopgen_django.imaging.onnx_letters import OnnxLetters
    from shopgen_django.imaging.onnx_pictures import OnnxPainter
    from shopgen_django.ml.enlarge import LoadedDoubler

BUILT_IN = ("shipped", "plain")
"""Values of ``MODEL`` that name no network of the shop's own."""
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
    """``MODEL`` is "shipped" (the network of this package), "plain" (Lanczos, corrected; no PyTorch is loaded), or the
    name of a network that was added (``shopgen_model add FILE --purpose enlarge``). ``LETTERS``: name of a network that
    finds writing (``shopgen_model add ppocr``); without one, plain signs tell where small print may be."""

    def __init__(self, *, MODEL: str = "shipped", LETTERS: str = "", **options: Any) -> None:
        super().__init__(MODEL=MODEL, LETTERS=LETTERS, **options)
        self._model, self._letters = MODEL, LETTERS
        self._painter: HeldNetwork[OnnxPainter] = HeldNetwork("picture", load_painter, *BUILT_IN)
        self._reader: HeldNetwork[OnnxLetters] = HeldNetwork("letters", _load_letters)
        self._loaded: LoadedDoubler | None = None
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        found = [] if self._model in BUILT_IN else problems_of(self._model, "picture", *BUILT_IN)
        return found + (problems_of(self._letters, "letters") if self._letters else [])

    def identity(self) -> str:
        careful = f", {identity_of(self._letters, 'letters')}" if self._letters else ""
        if self._model == "plain":
            return "plain"
        if self._model != "shipped":
            return identity_of(self._model, "picture") + careful
        from shopgen_django.ml.cards import shipped_identity

        return shipped_identity("enlarge") + careful

    def free(self) -> None:
        self._painter.free()
        self._reader.free()
        with self._lock:
            self._loaded = None

    def enlarge(
        self, image: Image.Image, *, factor: int, careful: bool = True, threads: int = 1, on_part: OnPart | None = None
    ) -> Image.Image:
        if self._model not in BUILT_IN:
            return self._by_network(image, factor, careful, threads, on_part)
        rounds = {2: 1, 4: 2}[factor]
        for number in range(rounds):
            # Of two rounds the second has four times as many pixels: its share of the work is 0.8.
            start, share = (0.0, 1.0) if rounds == 1 else ((0.0, 0.2), (0.2, 0.8))[number]
            image = self._double(image, careful, threads, _part_of(on_part, start, share))
        return image

    def _double(self, image: Image.Image, careful: bool, threads: int, on_part: OnPart | None) -> Image.Image:
        import numpy as np
        from PIL import Image as Pillow

        from shopgen_django.imaging.enlarging import bled, plain_double

        colours = bled(image) if image.mode == "RGBA" else image.convert("RGB")
        array = np.asarray(colours, dtype=np.uint8)
        if self._model == "plain":
            made = plain_double(array)
        else:
            mask = self._print_in(array, threads) if careful else None
            made = self._network(threads).double(array, careful=mask, on_tile=on_part)
        if on_part is not None:
            on_part(1.0)
        return _like(image, Pillow.fromarray(made))

    def _by_network(
        self, image: Image.Image, factor: int, careful: bool, threads: int, on_part: OnPart | None
    ) -> Image.Image:
        """By a network that was added, as often as it takes; what is too much then is shrunk away."""
        import numpy as np
        from PIL import Image as Pillow

        from shopgen_django.imaging.enlarging import bled, shrunk_to, within_neighbours
        from shopgen_django.imaging.onnx_network import NetworkError

        network = self._painter.get(self._model, threads=threads)
        if network.spec.factor < 2:
            raise PermanentError(
                _("The network %(name)s does not enlarge: its description says factor 1.") % {"name": self._model},
                code="wrong_engine",
            )
        array = np.asarray(bled(image) if image.mode == "RGBA" else image.convert("RGB"), dtype=np.uint8)
        mask = self._print_in(array, threads) if careful else None
        made, reached = array, 1
        rounds = 1 if network.spec.factor >= factor else 2
        try:
            for number in range(rounds):
                start, share = (0.0, 1.0) if rounds == 1 else ((0.0, 0.2), (0.2, 0.8))[number]
                made = network(made, on_tile=_part_of(on_part, start, share))
                reached *= network.spec.factor
        except NetworkError as error:
            raise PermanentError(str(error), code="bad_output") from error
        if reached != factor:
            made = shrunk_to(made, (factor * image.width, factor * image.height))
        if mask is not None:
            made = within_neighbours(made, array, mask)
        return _like(image, Pillow.fromarray(made))

    def _print_in(self, array: Any, threads: int) -> Any:
        """``(h, w)`` 0..1: where small print is, or may be."""
        from shopgen_django.imaging.enlarging import letters
        from shopgen_django.imaging.onnx_network import NetworkError

        if not self._letters:
            return letters(array)
        try:
            return self._reader.get(self._letters, threads=threads)(array)
        except NetworkError as error:
            raise PermanentError(str(error), code="bad_output") from error

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


def _like(image: Image.Image, made: Image.Image) -> Image.Image:
    """Enlarged colours in the mode of the picture that they were made from, under its alpha."""
    from shopgen_django.imaging.enlarging import with_alpha

    return with_alpha(made, image.getchannel("A")) if image.mode == "RGBA" else made.convert(image.mode)


def _load_letters(folder: Path, *, threads: int) -> OnnxLetters:
    from shopgen_django.imaging.onnx_letters import OnnxLetters

    return OnnxLetters(folder, threads=threads)


def _part_of(on_part: OnPart | None, start: float, share: float) -> OnPart | None:
    if on_part is None:
        return None
    return lambda done: on_part(start + share * done)
