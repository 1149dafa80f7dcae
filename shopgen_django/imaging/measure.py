"""Cheap measurements of a finished picture, for the quality gate and for people who compare results."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["measure"]

_SIDE = 512


def measure(image: Image.Image) -> dict[str, float]:
    """Measure a picture (any Pillow mode; transparent pixels count as white), shrunk to at most 512 pixels a side.

    Shrinking first makes results of different sizes comparable and keeps the time at some milliseconds.

    * ``sharpness``: variance of the Laplacian of the luma (0..255 scale). A few units: blurred; hundreds: crisp.
    * ``contrast``: standard deviation of the luma, as a share of the most possible (0..1).
    * ``blankness``: share (0..1) of the pixels that have the most frequent colour, at 5 bits per channel.
    * ``clipped_dark``, ``clipped_light``: share (0..1) of pixels with a luma under 2 and over 253. A plain white ground
      is clipped on purpose.
    * ``saturation``: mean HSV saturation (0..1).
    * ``entropy``: Shannon entropy of the luma histogram, in bits (0..8).
    * ``opacity``: mean alpha (0..1); 1 for pictures without transparency.
    * ``width``, ``height``: in pixels, before shrinking.
    """
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    small = image.convert("RGBA" if has_alpha else "RGB")
    longest = max(small.size)
    if longest > _SIDE:
        size = (max(1, round(small.width * _SIDE / longest)), max(1, round(small.height * _SIDE / longest)))
        small = small.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32)
    opacity = 1.0
    if has_alpha:
        alpha = pixels[..., 3:] / 255.0
        opacity = float(alpha.mean())
        pixels = pixels[..., :3] * alpha + 255.0 * (1.0 - alpha)
    luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return {
        "sharpness": _laplacian_variance(luma),
        "contrast": float(luma.std() / 127.5),
        "blankness": _modal_share(pixels),
        "clipped_dark": float((luma < 2).mean()),
        "clipped_light": float((luma > 253).mean()),
        "saturation": _mean_saturation(pixels),
        "entropy": _entropy(luma),
        "opacity": opacity,
        "width": float(image.width),
        "height": float(image.height),
    }


def _laplacian_variance(luma: np.ndarray) -> float:
    """Variance of the four-neighbour Laplacian inside the picture; 0 for pictures under three pixels a side."""
    if min(luma.shape) < 3:
        return 0.0
    middle = luma[1:-1, 1:-1]
    return float((luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle).var())


def _modal_share(pixels: np.ndarray) -> float:
    coarse = pixels.astype(np.int64) >> 3
    counts = np.bincount((coarse[..., 0] << 10 | coarse[..., 1] << 5 | coarse[..., 2]).ravel())
    return float(counts.max() / counts.sum())


def _mean_saturation(pixels: np.ndarray) -> float:
    high, low = pixels.max(axis=2), pixels.min(axis=2)
    return float(np.divide(high - low, high, out=np.zeros_like(high), where=high > 0).mean())


def _entropy(luma: np.ndarray) -> float:
    counts = np.bincount(np.clip(np.rint(luma), 0, 255).astype(np.int64).ravel(), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
