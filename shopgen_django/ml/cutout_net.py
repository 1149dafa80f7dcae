"""The small network that says where the product is; its weights ship as ``weights/cutout.safetensors``.

A U-Net (Ronneberger et al. 2015) on a picture folded two by two, with a gate over its channels that sees the whole
picture (squeeze and excitation, Hu et al. 2018). Beside the picture it is given what the spread of the colours says
(:func:`shopgen_django.imaging.cutout.classical.colour_belief`): from there it has less to learn. ``training/cutout/``
says what it has learnt from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shopgen_django.imaging.cutout.classical import colour_belief

from .shipped import load_shipped

NAME = "cutout"
SIDE = 160
"""Side of the square that it looks at, in pixels."""
WIDTHS = (24, 40, 64, 96, 128)


class _Block(nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = torch.relu(x + self.second(self.first(x)))
        return answer


class _Gate(nn.Module):
    """Channels that matter in this picture pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x * self.layers(x.mean((2, 3)))[:, :, None, None]
        return answer


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class CutoutNet(nn.Module):
    """``(n, 4, h, w)`` float32 in 0..1 (red, green, blue, what the colours say), sides multiples of 32 -> logits
    ``(n, 1, h, w)``: product above 0."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        inputs = 16
        for level, width in enumerate(widths):
            # The finest level is the dearest and knows the least: it gets no block.
            block = _Block(width) if level else nn.Identity()
            self.down.append(nn.Sequential(_convolution(inputs, width, 2 if level else 1), block))
            inputs = width
        self.gate = _Gate(widths[-1])
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            width = widths[level]
            again = _convolution(width, width) if level else nn.Identity()
            self.up.append(nn.Sequential(_convolution(widths[level + 1] + width, width), again))
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.pixel_unshuffle(x * 4.0 - 2.0, 2)
        kept: list[Tensor] = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        x = self.gate(kept.pop())
        for up in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, kept.pop()], 1))
        return torch.pixel_shuffle(self.head(x), 2)


def network_input(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(h, w, 3)`` uint8 sRGB, sides multiples of 32 -> what the network takes, ``(4, h, w)`` float32 in 0..1."""
    import cv2

    spread = cv2.resize(colour_belief(rgb), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.concatenate([rgb.transpose(2, 0, 1).astype(np.float32) / 255.0, spread[None]])


class ShippedFinder:
    """A finder for :func:`shopgen_django.imaging.cutout.cut_out` over the weights that ship.

    May be called from several threads. Raises ModelFileError when the weights are missing or were changed.
    """

    coarse = True

    def __init__(self) -> None:
        network = CutoutNet()
        self.card: dict[str, Any] = load_shipped(network, NAME)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w, 3) uint8 sRGB -> belief (SIDE, SIDE) float32 in 0..1."""
        import cv2

        small = np.asarray(cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
        batch = torch.from_numpy(network_input(small))[None]
        with torch.inference_mode():
            belief = torch.sigmoid(self._network(batch.contiguous(memory_format=torch.channels_last)))
        return np.ascontiguousarray(belief[0, 0].numpy(), np.float32)
