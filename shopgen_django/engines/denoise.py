"""Engine behind ``denoise``: the network that ships, one of the shop's own, or a plain filter."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopgen_django.exceptions import PermanentError
from shopgen_django.ml.cards import FOLDER

from .base import Engine, ModelLike

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.ml.restore import LoadedRestorer

SHIPPED = FOLDER / "denoiser"
LEAST = 2.0
"""Noise of a smaller standard deviation (0..255) is left alone: nobody sees it, and detail is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """A picture without its noise, and what was found in it.

    Attributes:
        level: standard deviation of the noise, 0..255, as estimated or given.
        coloured: 0..1, how sure it is that neighbours share their noise (camera, JPEG).
        changed: False when the picture was left alone, to the last bit.
    """

    image: Image.Image
    level: float
    coloured: float
    changed: bool


class DenoiseEngine(Engine, ABC):
    """Takes noise out of pictures."""

    @abstractmethod
    def denoise(
        self, image: Image.Image, *, level: float | None, strength: float, model: ModelLike | None = None,
        threads: int = 1, device: str = "cpu", on_part: Callable[[float], object] | None = None,
    ) -> Denoised:
        """``image`` (``L``, ``RGB``, ``RGBA``) without its noise, of the same size and transparency.

        ``level`` is the noise's standard deviation (0..255; ``None``: find out), ``strength`` the share of the change
        that is made (0..1), ``model`` a denoiser of the shop's own. ``on_part`` hears the share that is done; what it
        raises ends the work. Raises PermanentError for a model that can't be used.
        """


class Denoise(DenoiseEngine):
    """``MODEL`` is "auto" (the shop's active denoiser when there is one, else the one that ships), "shipped", or
    "plain" (a bilateral filter: no PyTorch is loaded)."""

    def __init__(self, *, MODEL: str = "auto", **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model = MODEL
        self._loaded: dict[tuple[str, str], LoadedRestorer] = {}
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        if self._model not in ("auto", "shipped", "plain"):
            return [f"MODEL must be 'auto', 'shipped' or 'plain', not {self._model!r}."]
        return []

    def identity(self) -> str:
        if self._model == "plain":
            return "plain"
        from shopgen_django.ml.cards import shipped_identity

        return shipped_identity("denoiser/model")

    def free(self) -> None:
        with self._lock:
            self._loaded.clear()

    def denoise(
        self, image: Image.Image, *, level: float | None, strength: float, model: ModelLike | None = None,
        threads: int = 1, device: str = "cpu", on_part: Callable[[float], object] | None = None,
    ) -> Denoised:
        for problem in self.check():
            raise PermanentError(problem, code="wrong_engine")
        if self._model == "plain":
            return self._plain(image, level, strength, on_part)
        import torch

        from shopgen_django.imaging.noise_signs import level_of
        from shopgen_django.imaging.plain_denoise import looks_drawn
        from shopgen_django.ml.errors import MLError
        from shopgen_django.ml.restore import Noise

        torch.set_num_threads(max(1, threads))
        try:
            restorer = self._load(model if self._model == "auto" else None, device)
        except MLError as error:
            raise PermanentError(str(error), code="model_unavailable") from error
        if level is not None:
            noise = Noise(sigma=level, coloured=0.0)
        elif looks_drawn(image):
            noise = Noise(sigma=0.0, coloured=0.0)
        else:
            guess = restorer.estimate(image)
            # A learned guess takes fine cloth for grain and clipped ground for silence; plain signs decide.
            sigma = level_of(image, guessed=guess.sigma, coloured=guess.coloured)
            noise = Noise(sigma=sigma, coloured=guess.coloured)
        changed = strength > 0.0 and noise.sigma >= (LEAST if level is None else 1e-6)
        if changed:
            image = restorer.restore(
                image, strength=strength, on_tile=on_part,
                **({"noise": noise} if level is None else {"sigma": level}),
            )
        return Denoised(image=image, level=noise.sigma, coloured=noise.coloured, changed=changed)

    def _plain(
        self, image: Image.Image, level: float | None, strength: float, on_part: Callable[[float], object] | None
    ) -> Denoised:
        from PIL import Image as Pillow

        from shopgen_django.imaging.noise_signs import level_of
        from shopgen_django.imaging.plain_denoise import smooth

        sigma = level_of(image, guessed=0.0, coloured=0.0) if level is None else level
        changed = strength > 0.0 and sigma >= (LEAST if level is None else 1e-6)
        if changed:
            image = Pillow.blend(image, smooth(image, sigma, check=on_part), strength)
        return Denoised(image=image, level=sigma, coloured=0.0, changed=changed)

    def _load(self, model: ModelLike | None, device: str) -> LoadedRestorer:
        from shopgen_django.ml.restore import load_restorer

        folder = SHIPPED if model is None else model.folder
        key = ("shipped" if model is None else model.weights_sha256, device)
        with self._lock:
            if key not in self._loaded:
                expected = None if model is None else model.weights_sha256
                self._loaded = {key: load_restorer(folder, device, expected_sha256=expected)}
            return self._loaded[key]
