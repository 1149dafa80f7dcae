"""The feature network that ships: a small residual-free convolutional network, 64 x 64 colour in, 64 numbers out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
DIMENSION = 64
LAYER = "features"
WIDTHS: tuple[tuple[int, int], ...] = ((20, 2), (40, 2), (40, 1), (80, 2), (80, 1), (128, 2))
"""Output channels and stride of each 3 x 3 convolution."""


class FeatureNetwork(nn.Module):
    """Convolutions with group norm, 2 x 2 average pooling, one linear layer to the features.

    Group norm rather than batch norm: a picture's features do not depend on the others in its batch, in training
    either. The features are the linear layer's outputs, before any activation, since Fréchet distance and kernel
    assume something like a normal distribution.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, stride in WIDTHS:
            layers += [
                nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False),
                nn.GroupNorm(width // 10 if width % 10 == 0 else 8, width),
                nn.SiLU(),
            ]
            before = width
        self.body = nn.Sequential(*layers)
        self.features = nn.Linear(before * 4, DIMENSION)

    def forward(self, pictures: Tensor) -> Tensor:
        """``(n, 3, 64, 64)`` float in -1..1 -> ``(n, 64)``."""
        return self.features(functional.adaptive_avg_pool2d(self.body(pictures), 2).flatten(1))


def to_input(pictures: NDArray[np.uint8] | Tensor, side: int = SIDE) -> Tensor:
    """The fixed rule from 8-bit pictures of any size and kind to the network's input.

    ``(n, 1|3|4, h, w)`` uint8 -> ``(n, 3, side, side)`` float32 in -1..1: grey is repeated three times, transparency is
    laid on white, then one bilinear resize with antialiasing, in float32, not rounded in between. Enlarging and
    reducing follow the same rule. Pictures that are not square are squeezed: pad them first.
    """
    given = torch.as_tensor(np.ascontiguousarray(pictures) if isinstance(pictures, np.ndarray) else pictures)
    if given.dtype != torch.uint8 or given.ndim != 4 or given.shape[1] not in (1, 3, 4):
        raise ValueError(f"Pictures must be (n, 1|3|4, h, w) uint8; got {tuple(given.shape)} {given.dtype}.")
    values = given.float()
    if values.shape[1] == 4:
        alpha = values[:, 3:] / 255.0
        values = values[:, :3] * alpha + 255.0 * (1.0 - alpha)
    if values.shape[1] == 1:
        values = values.expand(-1, 3, -1, -1)
    if values.shape[2:] != (side, side):
        values = functional.interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return values.div(127.5).sub(1.0)
