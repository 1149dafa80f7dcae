"""The denoiser's networks: one that takes noise of a known level out, one that tells the level, one that judges."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu, pad, pixel_shuffle, pixel_unshuffle, softplus

from shopgen_django.ml.networks import SLOPE, scaled_normal

FOLD = 2
"""Pixels of a square of this side become channels: the convolutions see twice as far for a quarter of the cost."""
LEVEL_UNIT = 50.0
"""Noise level that is fed in as 1."""

FULL_LEVEL = 5.0
"""From this level on all of the noise that is found is taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseEstimate:
    """What a picture looks like to the estimator.

    Attributes:
        level: ``(n,)`` standard deviation of the noise, 0..255.
        coloured: ``(n,)`` logits that neighbouring pixels share their noise (camera, JPEG).
    """

    level: Tensor
    coloured: Tensor


def _rough(pictures: Tensor) -> Tensor:
    """What each pixel differs by from its neighbours, times 4: noise is in there, most of the product is not."""
    around = avg_pool2d(pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return 4.0 * (pictures - around)


class Estimator(nn.Module):
    """Noise level and kind of a picture: every place says what it sees and how sure it is, the sure ones count more."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels * FOLD**2, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, pictures: Tensor) -> NoiseEstimate:
        h = pixel_unshuffle(_rough(pictures), FOLD).contiguous(memory_format=torch.channels_last)
        h = leaky_relu(self.second(leaky_relu(self.first(h), SLOPE)), SLOPE)
        level, coloured, sure = self.last(h).float().flatten(2).unbind(dim=1)
        weight = sure.softmax(dim=1)
        return NoiseEstimate(
            level=LEVEL_UNIT * softplus((level * weight).sum(dim=1)), coloured=(coloured * weight).sum(dim=1)
        )


class Restorer(nn.Module):
    """The shape of FFDNet (Zhang et al. 2018): fold 2 x 2, seven convolutions, unfold; the level as an extra plane.

    The convolutions give the noise. Below :data:`FULL_LEVEL` only a part of it is taken out, so that at level 0 the
    picture passes unchanged, exactly. A second plane says whether the noise is coloured (camera, JPEG) or white.
    """

    def __init__(self, *, channels: int, width: int, depth: int, estimator_width: int) -> None:
        super().__init__()
        self.channels = channels
        folded = channels * FOLD**2
        widths = [2 * folded + 2, *[width] * (depth - 1), folded]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))
        self.estimator = Estimator(channels=channels, width=estimator_width)

    @property
    def reach(self) -> int:
        """Pixels to each side that a pixel's result depends on."""
        return FOLD * (len(self.layers) + 1)

    def forward(self, pictures: Tensor, level: Tensor, coloured: Tensor) -> Tensor:
        """Pictures without their noise.

        Args:
            pictures: ``(n, c, h, w)`` in -1..1, sides even.
            level: ``(n,)`` standard deviation of the noise, 0..255.
            coloured: ``(n,)`` 0..1.
        """
        n, _c, height, width = pictures.shape
        planes = torch.stack([level / LEVEL_UNIT, coloured], dim=1).to(pictures.dtype)
        h = torch.cat(
            [
                pixel_unshuffle(pictures, FOLD),
                pixel_unshuffle(_rough(pictures), FOLD),
                planes.view(n, 2, 1, 1).expand(n, 2, height // FOLD, width // FOLD),
            ],
            dim=1,
        ).contiguous(memory_format=torch.channels_last)
        h = leaky_relu(self.layers[0](h), SLOPE)
        for layer in self.layers[1:-1]:
            # The way past each layer lets the last one see the picture from the first step on; without it the network
            # stands still for thousands of steps.
            h = leaky_relu(h + layer(h), SLOPE)
        noise = pixel_shuffle(self.layers[-1](h), FOLD)
        share = (level / FULL_LEVEL).clamp(0.0, 1.0)
        return pictures - noise * share.view(n, 1, 1, 1).to(pictures.dtype)

    def initialise(self, rng: torch.Generator) -> None:
        """He initialisation (2015), halved where there is a way past a layer, the last layer small."""
        for index, layer in enumerate(self.layers):
            scaled_normal(layer, rng)
            assert isinstance(layer.weight, Tensor)
            with torch.no_grad():
                layer.weight.mul_(1.0 if index == 0 else 0.5 if index < len(self.layers) - 1 else 0.1)
                if index == 0:  # the product itself is larger than its noise, and matters less here
                    layer.weight[:, : layer.weight.shape[1] // 2 - 1].mul_(0.3)
        for layer in (self.estimator.first, self.estimator.second, self.estimator.last):
            scaled_normal(layer, rng)
        with torch.no_grad():
            self.estimator.last.weight.mul_(0.1)


class PatchJudge(nn.Module):
    """A discriminator that judges overlapping patches of 18 pixels, each by itself (Isola et al. 2017)."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 4, 2, 1),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            ]
        )
        self.last = nn.Conv2d(2 * width, 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """``(n, 1, h / 4, w / 4)`` logits."""
        h = pictures.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            h = leaky_relu(layer(h), SLOPE)
        logits: Tensor = self.last(h)
        return logits
