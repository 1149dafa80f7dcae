"""Numbers that describe a picture, for comparing two sets of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.networks import scaled_normal

SIDE = 64
WIDTHS = (32, 64, 96)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """A network's features with its name; figures from unlike names can't be compared."""

    name: str
    features: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    """``(n, c, h, w)`` uint8 -> ``(n, d)``."""


class RandomNetwork(nn.Module):
    """Convolutions with random, fixed weights: means and spreads of their maps at three scales.

    Needs no weights and no likeness between a shop's products and anybody's training pictures. Random convolutions see
    colours, edges and textures (Saxe et al. 2011), not what an object is.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(20)
        self.layers = nn.ModuleList()
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            layer = nn.Conv2d(before, width, 3, stride=2, padding=1)
            scaled_normal(layer, rng)
            self.layers.append(layer)

    def forward(self, pictures: Tensor) -> Tensor:
        """``(n, 1|3|4, h, w)`` uint8 -> ``(n, 384)``."""
        h = to_colour(pictures)
        h = interpolate(h, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        found = []
        for layer in self.layers:
            h = leaky_relu(layer(h), 0.2)
            found += [h.mean(dim=(2, 3)), h.std(dim=(2, 3))]
        return torch.cat(found, dim=1)


def to_colour(pictures: Tensor) -> Tensor:
    """``(n, 1|3|4, h, w)`` uint8 -> ``(n, 3, h, w)`` in -1..1; transparency is laid on white."""
    values = pictures.float().div(127.5).sub(1.0)
    if values.shape[1] == 4:
        alpha = (values[:, 3:] + 1.0) / 2.0
        values = values[:, :3] * alpha + (1.0 - alpha)
    return values.expand(-1, 3, -1, -1) if values.shape[1] == 1 else values


def default_extractor() -> Extractor:
    """The feature network that ships with the package; random convolutions where there is none."""
    try:
        shipped = import_module("shopgen_django.ml.evaluation.extractors").load_extractor()
    except (ImportError, ModelFileError):
        network = RandomNetwork().eval().requires_grad_(False)
        return Extractor(name="random-convolutions-1", features=lambda pictures: _features(network, pictures))
    return Extractor(name=str(shipped.identity), features=shipped.features)


@torch.no_grad()
def _features(network: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    parts = [network(torch.from_numpy(pictures[at : at + 64].copy())) for at in range(0, len(pictures), 64)]
    return np.asarray(torch.cat(parts).double().numpy())
