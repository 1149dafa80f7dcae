"""Engine behind ``denoise``: the network that ships, one of the shop's own, or a plain filter."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from shopgen_django.exceptions import PermanentError
from shopgen_django.ml.cards import FOLDER

from .base import Engine, ModelLike
from .networks import HeldNetwork, identity_of, load_painter, problems_of

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.imaging.onnx_pictures import OnnxPainter
    from shopgen_django.ml.restore import LoadedRestorer

SHIPPED = FOLDER / "denoiser"
BUILT_IN = ("auto", "shipped", "plain")
"""Values of ``MODEL`` that name no network of the shop's own."""
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
    """``MODEL`` is "auto" (the shop's active denoiser when there is one, else the one that ships), "shipped",
    "plain" (a bilateral filter: no PyTorch is loaded), or the name of a network that was added
    (``shopgen_model add FILE --purpose denoise``), which takes out what it takes for noise."""

    def __init__(self, *, MODEL: str = "auto", **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model = MODEL
        self._loaded: dict[tuple[str, str], LoadedRestorer] = {}
        self._painter: HeldNetwork[OnnxPainter] = HeldNetwork("picture", load_painter, *BUILT_IN)
        self._lock = threading.Lock()

    def check(self) -> list[str]:
        return [] if self._model in BUILT_IN else problems_of(self._model, "picture", *BUILT_IN)

    def identity(self) -> str:
        if self._model == "plain":
            return "plain"
        if self._model not in BUILT_IN:
            return identity_of(self._model, "picture")
        from shopgen_django.ml.cards import shipped_identity

        return shipped_identity("denoiser/model")

    def free(self) -> None:
        self._painter.free()
        with self._lock:
            self._loaded.clear()

    def denoise(
        self, image: Image.Image, *, level: float | None, strength: float, model: ModelLike | None = None,
        threads: int = 1, device: str = "cpu", on_part: Callable[[float], object] | None = None,
    ) -> Denoised:
        if self._model == "plain":
            return self._plain(image, level, strength, on_part)
        if self._model not in BUILT_IN:
            return self._by_network(image, level, strength, threads, on_part)
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

    def _by_network(
        self, image: Image.Image, level: float | None, strength: float, threads: int,
        on_part: Callable[[float], object] | None,
    ) -> Denoised:
        """By a network that was added. It says nothing of how much noise there is: plain signs do, and decide."""
        import numpy as np
        from PIL import Image as Pillow

        from shopgen_django.imaging.noise_signs import level_of
        from shopgen_django.imaging.onnx_network import NetworkError
        from shopgen_django.imaging.plain_denoise import looks_drawn

        network = self._painter.get(self._model, threads=threads)
        if network.spec.factor != 1:
            raise PermanentError(
                _("The network %(name)s enlarges; one that takes noise out has factor 1.") % {"name": self._model},
                code="wrong_engine",
            )
        if level is None:
            sigma = 0.0 if looks_drawn(image) else level_of(image, guessed=0.0, coloured=0.0)
        else:
            sigma = level
        changed = strength > 0.0 and sigma >= (LEAST if level is None else 1e-6)
        if not changed:
            return Denoised(image=image, level=sigma, coloured=0.0, changed=False)
        try:
            made = Pillow.fromarray(network(np.asarray(image.convert("RGB"), np.uint8), on_tile=on_part))
        except NetworkError as error:
            raise PermanentError(str(error), code="bad_output") from error
        mended = Pillow.blend(image.convert("RGB"), made, strength).convert("L" if image.mode == "L" else "RGB")
        if image.mode == "RGBA":
            mended.putalpha(image.getchannel("A"))
        return Denoised(image=mended, level=sigma, coloured=0.0, changed=True)

    def _load(self, model: ModelLike | None, device: str) -> LoadedRestorer:
        from shopgen_django.ml.restore import load_restorer

        folder = SHIPPED if model is None else model.folder
        key = ("shipped" if model is None else model.weights_sha256, device)
        with self._lock:
            if key not in self._loaded:
                expected = None if model is None else model.weights_sha256
                self._loaded = {key: load_restorer(folder, device, expected_sha256=expected)}
            return self._loaded[key]
