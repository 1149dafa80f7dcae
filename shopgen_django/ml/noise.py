"""Noise that photos have, drawn from a step's random numbers: what the denoiser learns to take out.

Pictures are ``(n, c, h, w)`` in -1..1. Every kind ends as an 8-bit picture would: clipped and rounded.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .seeding import Rng, normal, uniform, whole

KINDS = ("gaussian", "camera", "jpeg")
MAX_SIGMA = 55.0
"""Largest standard deviation of Gaussian noise that is trained on, on the scale 0..255."""
GAIN = (0.002, 0.02)
"""Photon noise in linear light: variance = gain x light."""
READ = (0.001, 0.01)
"""Standard deviation of the sensor's own noise in linear light."""
CLEAN = 0.08
"""Share of the pictures that stay as they are, so that an estimate knows what no noise looks like."""
QUALITY = {"camera": (65, 95), "jpeg": (25, 90)}
"""JPEG quality; both ends are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noisy:
    """Noisy pictures and what was done to them.

    Attributes:
        pictures: like the clean ones.
        level: ``(n,)`` standard deviation of the noise on the scale 0..255: as set for Gaussian noise, the root of the
            mean square of the difference for the other kinds.
        coloured: ``(n,)`` 1 where neighbouring pixels share their noise (camera, JPEG), else 0.
    """

    pictures: Tensor
    level: Tensor
    coloured: Tensor


def to_linear(values: Tensor) -> Tensor:
    """sRGB 0..1 to linear light 0..1 (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """The inverse of :func:`to_linear`."""
    low = light.clamp(0.0, 1.0)
    return torch.where(low <= 0.0031308, low * 12.92, 1.055 * low.clamp_min(0.0031308) ** (1.0 / 2.4) - 0.055)


def add_noise(clean: Tensor, rng: Rng, kinds: Sequence[str] = KINDS) -> Noisy:
    """Give each picture noise of one of ``kinds`` and of a random strength.

    A share of :data:`CLEAN` gets none. All random numbers are drawn for all pictures, so that one picture's do not
    depend on the others' kinds.
    """
    n = len(clean)
    chosen = whole(rng, 0, len(kinds), n)
    drawn = uniform(rng, n, 3)
    clean_ones = drawn[:, 0] < CLEAN
    strengths = torch.cat([((drawn[:, :1] - CLEAN) / (1.0 - CLEAN)).clamp_min(0.0), drawn[:, 1:]], dim=1)
    grain = normal(rng, n, *clean.shape[1:])
    flat = ((clean.detach().cpu() + 1.0) * 0.5).clamp(0.0, 1.0)
    made = torch.empty_like(flat)
    level = torch.empty(n)
    for index, kind in enumerate(kinds):
        rows = (chosen == index).nonzero().flatten()
        if not len(rows):
            continue
        given, numbers, strength = flat[rows], grain[rows], strengths[rows]
        if kind == "gaussian":
            sigma = strength[:, 0] * MAX_SIGMA
            made[rows] = gaussian(given, numbers, sigma)
            level[rows] = sigma
            continue
        if kind == "camera":
            gain, read = _between(*GAIN, strength[:, 0]), _between(*READ, strength[:, 1])
            given = camera(given, numbers, gain, read)
        low, high = QUALITY[kind]
        made[rows] = jpeg(given, (low + (high - low) * strength[:, 2]).round().int().tolist())
        level[rows] = rms(made[rows], flat[rows])
    made[clean_ones], level[clean_ones] = flat[clean_ones], 0.0
    coloured = torch.tensor([kind != "gaussian" for kind in kinds])[chosen].float()
    pictures = (made * 2.0 - 1.0).to(clean.device)
    return Noisy(pictures=pictures, level=level.to(clean.device), coloured=coloured.to(clean.device))


def rms(noisy: Tensor, clean: Tensor) -> Tensor:
    """``(n,)`` root mean square of the difference of pictures in 0..1, on the scale 0..255."""
    return 255.0 * (noisy - clean).square().flatten(1).mean(dim=1).sqrt()


def gaussian(clean: Tensor, grain: Tensor, sigma: Tensor) -> Tensor:
    """White noise of standard deviation ``sigma`` (``(n,)``, 0..255) on pictures in 0..1."""
    return _eight_bit(clean + grain * (sigma / 255.0).view(-1, 1, 1, 1))


def camera(clean: Tensor, grain: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    """Photon and read noise in linear light, its colour blurred as cameras do; pictures in 0..1, not yet a JPEG.

    The Poisson distribution of photons is taken as a Gaussian of the same variance, which it is at these counts.
    """
    light = to_linear(clean)
    scatter = (gain.view(-1, 1, 1, 1) * light + read.view(-1, 1, 1, 1).square()).sqrt()
    noisy = to_srgb(light + grain * scatter)
    if clean.shape[1] == 3:
        # The demosaicing and the camera's own filter leave grain in the brightness and smear it in the colours.
        grey = noisy.mean(dim=1, keepdim=True)
        clean_colour = clean - clean.mean(dim=1, keepdim=True)
        noisy = grey + clean_colour + _blurred(noisy - grey - clean_colour)
    return _eight_bit(noisy)


def jpeg(pictures: Tensor, quality: Sequence[int]) -> Tensor:
    """Pictures in 0..1 (1 or 3 channels) through a JPEG of the quality given for each."""
    result = torch.empty_like(pictures)
    arrays = (pictures * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for index, (array, one) in enumerate(zip(arrays, quality, strict=True)):
        with io.BytesIO() as file:
            Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "JPEG", quality=int(one))
            back = np.array(Image.open(file))
        back = back[..., None] if back.ndim == 2 else back
        result[index] = torch.from_numpy(back).permute(2, 0, 1).float() / 255.0
    return result


def _between(low: float, high: float, share: Tensor) -> Tensor:
    """Spread evenly over the orders of magnitude."""
    return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * share)


def _blurred(pictures: Tensor) -> Tensor:
    """A blur of about one pixel (1 2 1 in both directions)."""
    channels = pictures.shape[1]
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line[None, :]).expand(channels, 1, 3, 3)
    return conv2d(pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)


def _eight_bit(pictures: Tensor) -> Tensor:
    return (pictures.clamp(0.0, 1.0) * 255.0).round() / 255.0
