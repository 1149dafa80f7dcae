"""Networks of the VAE family: an encoder and a decoder of the blocks of modern, and a small VAE on the latent space."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, leaky_relu

from shopgen_django.ml.config import base_side
from shopgen_django.ml.networks import SLOPE

from .base import ChannelSlice, Generator
from .modern import ModernGenerator

LOG_VARIANCE_LIMIT = 10.0
HIDDEN = 256
"""Width of the second stage's layers."""
EMBEDDED = 16
"""Numbers that stand for a category where it is an input."""


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), element by element, in nats (never negative)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


class Encoder(nn.Module):
    """Modern's way down, then mean and log-variance of the latent numbers, ``(n, latent)`` each."""

    def __init__(self, *, size: int, channels: int, latent: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        base, _ = base_side(size)
        down = tuple(reversed(plan))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((channels, *down), down, strict=False))
        features = max(128, down[-1])
        self.mix = nn.Conv2d(down[-1], down[-1], 3, 1, 1)
        self.features = nn.Linear(down[-1] * base**2, features)
        self.embed = nn.Embedding(categories, EMBEDDED) if categories else None
        self.mean = nn.Linear(features + (EMBEDDED if categories else 0), latent)
        self.log_variance = nn.Linear(features + (EMBEDDED if categories else 0), latent)

    def forward(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        h = pictures.contiguous(memory_format=torch.channels_last)
        for down in self.downs:
            h = leaky_relu(down(h), SLOPE)
        h = leaky_relu(h + self.mix(h), SLOPE)
        h = leaky_relu(self.features(h.flatten(1)), SLOPE)
        if self.embed is not None:
            h = torch.cat([h, self.embed(labels)], dim=1)
        return self.mean(h), self.log_variance(h).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)


class Likelihood(nn.Module):
    """How a real pixel is believed to scatter around what the decoder gives: nats a picture, to be made small.

    ``gaussian`` and ``laplace`` have one learned width for all pixels (Dai and Wipf 2019: with a fixed one the balance
    between likeness and order is wrong from the start). ``bernoulli`` takes the decoder's output as a logit and is the
    usual cross-entropy with grey values; for values other than 0 and 1 that is not a density.
    """

    log_width: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "bernoulli":
            self.register_buffer("log_width", torch.zeros(()))
        else:
            self.log_width = nn.Parameter(torch.tensor(math.log(0.5)))

    def forward(self, drawn: Tensor, real: Tensor) -> Tensor:
        """``(n,)`` negative log-likelihoods of ``real`` (-1..1), summed over pixels and channels."""
        if self.kind == "bernoulli":
            each = binary_cross_entropy_with_logits(drawn, (real + 1.0) * 0.5, reduction="none")
        else:
            distance = (real - drawn) * (-self.log_width).exp()
            if self.kind == "gaussian":
                each = 0.5 * distance.square() + self.log_width + 0.5 * math.log(2.0 * math.pi)
            else:
                each = distance.abs() + self.log_width + math.log(2.0)
        return each.flatten(1).sum(dim=1)


def to_picture(drawn: Tensor, kind: str) -> Tensor:
    """The decoder's output as a picture in -1..1: the mean of its distribution."""
    return torch.tanh(0.5 * drawn) if kind == "bernoulli" else drawn


class _Layers(nn.Module):
    """Two hidden layers with a straight way past them."""

    def __init__(self, inputs: int, outputs: int, categories: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(categories, EMBEDDED) if categories else None
        given = inputs + (EMBEDDED if categories else 0)
        self.first = nn.Linear(given, HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.last = nn.Linear(HIDDEN + given, outputs)

    def forward(self, values: Tensor, labels: Tensor) -> Tensor:
        given = values if self.embed is None else torch.cat([values, self.embed(labels)], dim=1)
        h = leaky_relu(self.second(leaky_relu(self.first(given), SLOPE)), SLOPE)
        result: Tensor = self.last(torch.cat([h, given], dim=1))
        return result


class LatentEncoder(nn.Module):
    """Latent numbers of a photo -> mean and log-variance of the second stage's numbers, as many."""

    def __init__(self, *, latent: int, categories: int) -> None:
        super().__init__()
        self.layers = _Layers(latent, 2 * latent, categories)

    def forward(self, codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.layers(codes, labels).chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)


class LatentDecoder(nn.Module):
    """The second stage's numbers -> latent numbers such as photos have, with a learned width around them."""

    def __init__(self, *, latent: int, categories: int) -> None:
        super().__init__()
        self.layers = _Layers(latent, latent, categories)
        self.log_width = nn.Parameter(torch.zeros(()))

    def forward(self, numbers: Tensor, labels: Tensor) -> Tensor:
        result: Tensor = self.layers(numbers, labels)
        return result

    def nats(self, drawn: Tensor, codes: Tensor) -> Tensor:
        """``(n,)`` negative log-likelihoods of ``codes`` around ``drawn``."""
        each = 0.5 * ((codes - drawn) * (-self.log_width).exp()).square() + self.log_width
        return (each + 0.5 * math.log(2.0 * math.pi)).sum(dim=1)


class VaeGenerator(Generator):
    """Random numbers -> latent numbers -> picture.

    With the second stage a row holds two sets of random numbers: those of the second VAE, and the noise around what it
    gives. Without it a row is the latent numbers themselves.
    """

    def __init__(
        self, *, size: int, channels: int, latent: int, categories: int, plan: tuple[int, ...], likelihood: str,
        second_stage: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.codes = latent
        self.latent = 2 * latent if second_stage else latent
        self.likelihood = likelihood
        self.decoder = ModernGenerator(size=size, channels=channels, latent=latent, categories=categories, plan=plan)
        self.second = LatentDecoder(latent=latent, categories=categories) if second_stage else None

    def levels(self) -> tuple[tuple[ChannelSlice, ...], ...]:
        """Those of the decoder; the second stage is small and stays as it is."""
        return tuple(
            tuple(replace(part, tensor=f"decoder.{part.tensor}") for part in level) for level in self.decoder.levels()
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        if self.second is not None:
            numbers, noise = latents.chunk(2, dim=1)
            latents = self.second(numbers, labels) + self.second.log_width.exp() * noise
        return to_picture(self.decoder(latents, labels), self.likelihood)
