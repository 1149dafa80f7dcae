"""What tests of the picture operations share: an input from a picture, and one run of an operation."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shopgen_django.operations.base import InputImage, OperationContext, Output
from shopgen_django.operations.registry import get_operation

PHOTOS = Path(__file__).resolve().parents[2] / "example_project" / "data" / "clothing_cc0" / "images"


def photo(number: int = 0) -> Image.Image:
    """One of the phone photos that come with the example shop, long side 128."""
    with Image.open(sorted(PHOTOS.rglob("*.jpg"))[number]) as opened:
        return opened.convert("RGB")


def noisy(image: Image.Image, sigma: float, seed: int = 0) -> Image.Image:
    """With white noise."""
    array = np.asarray(image, dtype=np.float64)
    grain = np.random.default_rng(seed).normal(0.0, sigma, array.shape)
    return Image.fromarray(np.clip(np.rint(array + grain), 0, 255).astype(np.uint8))


def psnr(one: Image.Image, other: Image.Image) -> float:
    """In dB, of all bands."""
    error = np.square(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).mean()
    return float(10.0 * np.log10(255.0**2 / max(1e-9, error)))


def source(image: Image.Image, name: str = "one", kind: str = "PNG") -> InputImage:
    """An input as a job gives it."""
    content = io.BytesIO()
    image.save(content, kind)
    return InputImage(
        id=name, content=content.getvalue(), sha256=hashlib.sha256(content.getvalue()).hexdigest(),
        width=image.width, height=image.height, format=kind, category="Dress", alt_text="A red dress",
    )


def run_all(operation: str, *images: Image.Image | InputImage, **params: Any) -> list[Output]:
    """Every output of an operation on pictures."""
    chosen = get_operation(operation)
    inputs = tuple(
        image if isinstance(image, InputImage) else source(image, f"image-{number}")
        for number, image in enumerate(images)
    )
    parsed = chosen.clean(chosen.Parameters.parse(params))
    return list(chosen.run(OperationContext(params=parsed, inputs=inputs)))


def run(operation: str, *images: Image.Image | InputImage, **params: Any) -> Output:
    """The only output."""
    (output,) = run_all(operation, *images, **params)
    return output
