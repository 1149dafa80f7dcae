"""How well a denoiser restores: PSNR, SSIM and, where its weights are given, LPIPS, beside simple filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.pictures import to_pillow

from .extractors import open_onnx
from .similarity import psnr, ssim

SIGMAS = (0.0, 15.0, 25.0, 50.0)
"""Standard deviations of the noise, 0..255; 0 asks whether a clean picture is left alone."""
GAUSSIANS = (0.5, 0.8, 1.2, 1.8)
SAME = 60.0
"""PSNR that stands for equal pictures, which have none."""
Restore = Callable[[Image.Image], Image.Image]
Lpips = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Means over the pictures, at one noise level. PSNR in dB; SSIM in -1..1; LPIPS: smaller is more alike."""

    sigma: float
    noisy_psnr: float
    restored_psnr: float
    filter_psnr: float
    """The best of a 3 x 3 median and four Gaussian filters, chosen at this level with the clean pictures at hand."""
    noisy_ssim: float
    restored_ssim: float
    noisy_lpips: float | None = None
    restored_lpips: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge_restorer(
    restore: Restore, clean: NDArray[np.uint8], *, seed: int = 0, lpips: Lpips | None = None
) -> tuple[Restored, ...]:
    """Add white noise to clean pictures ``(n, 1|3, h, w)`` and compare what ``restore`` makes of them, 8 bit, blind."""
    found = []
    for sigma in SIGMAS:
        noisy = add_noise(clean, sigma, seed)
        restored = restored_pictures(restore, noisy)
        filters: list[ImageFilter.Filter] = [ImageFilter.MedianFilter(3), *map(ImageFilter.GaussianBlur, GAUSSIANS)]
        simple = [
            _psnr(clean, np.stack([_array(to_pillow(picture).filter(each), picture.shape) for picture in noisy]))
            for each in filters
        ]
        found.append(
            Restored(
                sigma=sigma, noisy_psnr=_psnr(clean, noisy), restored_psnr=_psnr(clean, restored),
                filter_psnr=max(simple), noisy_ssim=ssim(clean, noisy, data_range=255),
                restored_ssim=ssim(clean, restored, data_range=255),
                noisy_lpips=lpips(clean, noisy) if lpips else None,
                restored_lpips=lpips(clean, restored) if lpips else None,
            )
        )
    return tuple(found)


def add_noise(clean: NDArray[np.uint8], sigma: float, seed: int) -> NDArray[np.uint8]:
    """White noise of a standard deviation of ``sigma`` (0..255), rounded and clipped."""
    noise = np.random.default_rng([seed, int(sigma)]).normal(0.0, sigma, clean.shape) if sigma else 0.0
    return np.asarray(np.clip(np.rint(clean + noise), 0, 255), dtype=np.uint8)


def restored_pictures(restore: Restore, noisy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What ``restore`` makes of pictures ``(n, 1|3, h, w)``."""
    return np.stack([_array(restore(to_pillow(picture)), picture.shape) for picture in noisy])


def load_lpips(path: str | Path) -> Lpips:
    """LPIPS from a user's ``.onnx`` graph: two inputs ``(n, 3, h, w)`` float32 in -1..1, one distance a pair.

    Raises:
        ModelFileError: missing, or not such a graph.
        MissingExtra: no onnxruntime.
    """
    file = Path(path)
    try:
        session = open_onnx(file.name, file.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{file} can't be read: {error.strerror}.") from None
    names = [each.name for each in session.get_inputs()]
    if len(names) != 2:
        raise ModelFileError(f"{file.name} has {len(names)} inputs; LPIPS compares two pictures.")

    def measure(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        pairs = zip(one, other, strict=True)
        values = [session.run(None, {names[0]: _unit(a), names[1]: _unit(b)})[0] for a, b in pairs]
        return float(np.mean(values))

    return measure


def _psnr(clean: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean over the pictures."""
    return float(np.mean([min(SAME, psnr(a, b, data_range=255)) for a, b in zip(clean, other, strict=True)]))


def _array(image: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    array = np.asarray(image.convert("L" if shape[0] == 1 else "RGB"), dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _unit(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = picture.astype(np.float32)[None] / 127.5 - 1.0
    return np.repeat(values, 3, axis=1) if values.shape[1] == 1 else values
