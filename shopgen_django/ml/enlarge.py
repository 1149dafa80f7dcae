"""Pictures twice as large with a small network that ships: :class:`Doubler` adds detail to a bicubic enlargement.

After ESPCN (Shi et al. 2016): convolutions at the small size, four sub-pixels of each pixel at the end. What it adds is
small by construction, and back-projection (Irani and Peleg 1991) takes out again what the photo does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, max_pool2d, pixel_shuffle

from .cards import card_of
from .networks import SLOPE, scaled_normal
from .shipped import load_shipped

if TYPE_CHECKING:
    from PIL import Image

NAME = "enlarge"
WIDTH, DEPTH = 40, 5
TILE = 192
"""Side of the parts that a picture is worked through in, in pixels of the small picture."""
REACH = DEPTH + 3
"""Pixels to each side that a pixel's result depends on: the convolutions, or the bicubic kernel."""
ROUNDS = 3


class Doubler(nn.Module):
    """``(n, 3, h, w)`` in 0..1 -> ``(n, 3, 2h, 2w)``."""

    def __init__(self, *, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        widths = [3, *[width] * (depth - 1), 12]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))

    def forward(self, pictures: Tensor) -> Tensor:
        """The bicubic enlargement and what the network adds; not clamped."""
        h = leaky_relu(self.layers[0](pictures.contiguous(memory_format=torch.channels_last)), SLOPE)
        for layer in self.layers[1:-1]:
            h = leaky_relu(h + layer(h), SLOPE)
        return twice(pictures) + pixel_shuffle(self.layers[-1](h), 2)

    def initialise(self, rng: torch.Generator) -> None:
        """He initialisation (2015), halved where there is a way past a layer, the last layer small."""
        for index, layer in enumerate(self.layers):
            scaled_normal(layer, rng)
            assert isinstance(layer.weight, Tensor)
            with torch.no_grad():
                layer.weight.mul_(1.0 if index == 0 else 0.5 if index < len(self.layers) - 1 else 0.1)


def twice(pictures: Tensor) -> Tensor:
    """Bicubic, pixel centres aligned as every program does."""
    return interpolate(pictures, scale_factor=2, mode="bicubic", align_corners=False)


def within(large: Tensor, small: Tensor) -> Tensor:
    """``large`` kept between the darkest and the brightest of the 3 x 3 pixels of ``small`` around each place."""
    high = interpolate(max_pool2d(small, 3, 1, 1), scale_factor=2, mode="nearest")
    low = -interpolate(max_pool2d(-small, 3, 1, 1), scale_factor=2, mode="nearest")
    return torch.minimum(torch.maximum(large, low), high)


def back_project(large: Tensor, small: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Correct ``large`` until it shrinks (2 x 2 means) to ``small``, as far as ``rounds`` corrections go."""
    for _round in range(rounds):
        shrunk = interpolate(large, scale_factor=0.5, mode="area")
        large = large + interpolate(small - shrunk, scale_factor=2, mode="bilinear", align_corners=False)
    return large


class LoadedDoubler:
    """The network that ships. Get one from :func:`load_doubler`."""

    def __init__(self, network: Doubler, card: dict[str, Any]) -> None:
        self._network = network
        self.card = card

    @torch.no_grad()
    def double(
        self, array: NDArray[np.uint8], *, careful: NDArray[np.float32] | None = None,
        on_tile: Callable[[float], object] | None = None,
    ) -> NDArray[np.uint8]:
        """``(h, w, 3)`` uint8 to ``(2h, 2w, 3)``, tile by tile; the tiles do not show.

        Args:
            careful: ``(h, w)`` 0..1: where it is 1 (letters), nothing gets brighter or darker than the photo's pixels
                around it are, so that no stroke is made up and none is drawn over.
            on_tile: called with the share that is done, 0..1; what it raises ends the work.
        """
        height, width = array.shape[:2]
        result = np.empty((2 * height, 2 * width, 3), dtype=np.uint8)
        places = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
        for number, (y, x) in enumerate(places, start=1):
            top, left = max(0, y - REACH), max(0, x - REACH)
            bottom, right = min(height, y + TILE + REACH), min(width, x + TILE + REACH)
            part = torch.from_numpy(np.ascontiguousarray(array[top:bottom, left:right].transpose(2, 0, 1)))
            small = part[None].float().div_(255.0)
            large = self._network(small)
            if careful is not None:
                weight = torch.from_numpy(np.ascontiguousarray(careful[top:bottom, left:right]))[None, None]
                large = torch.lerp(large, within(large, small), interpolate(weight, scale_factor=2, mode="bilinear"))
            large = back_project(large, small).clamp_(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)
            rows, columns = min(TILE, height - y), min(TILE, width - x)
            inner = large[0, :, 2 * (y - top) : 2 * (y - top + rows), 2 * (x - left) : 2 * (x - left + columns)]
            result[2 * y : 2 * (y + rows), 2 * x : 2 * (x + columns)] = inner.permute(1, 2, 0).numpy()
            if on_tile is not None:
                on_tile(number / len(places))
        return result


def load_doubler() -> LoadedDoubler:
    """The network with its weights, compared with their card.

    Raises:
        ModelFileError: the package's files are missing or changed.
    """
    network = Doubler(width=int(card_of(NAME)["width"]), depth=int(card_of(NAME)["depth"]))
    return LoadedDoubler(network, load_shipped(network, NAME))


def identity() -> str:
    """Name and beginning of the hash."""
    return f"{NAME} {str(card_of(NAME)['sha256'])[:12]}"


def as_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """``(h, w, 3)``."""
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)
