"""The default family: networks without normalisation, relativistic pairing loss with R1 and R2 (after R3GAN, 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ..augment import Augment, policy
from ..config import TrainConfig, base_side
from ..losses import LOSSES
from ..networks import SLOPE, scaled_normal, to_device
from ..seeding import generator as seeded
from .adversarial import AdversarialLearner, GameSettings
from .base import DataFacts, Family, Generator


def channel_plan(size: int, width: int, top: int) -> tuple[int, ...]:
    """Channels from the coarsest level (4..7 px) to half the picture's side: doubling downwards, at most ``top``."""
    _base, doublings = base_side(size)
    return tuple(min(top, width * 2**level) for level in reversed(range(doublings)))


class ModernGenerator(Generator):
    """Random vector and category -> coarse map -> doubled by transposed convolutions -> picture in -1..1."""

    def __init__(self, *, size: int, channels: int, latent: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        self.latent = latent
        self.base, _ = base_side(size)
        embedded = min(latent, 32) if categories else 0
        self.embed = nn.Embedding(categories, embedded) if categories else None
        self.first = nn.Linear(latent + embedded, plan[0] * self.base**2)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(plan, plan[1:], strict=False)
        )
        self.mixes = nn.ModuleList(nn.Conv2d(b, b, 3, 1, 1) for b in plan[1:])
        # The last doubling is a convolution at half the side whose outputs are dealt out to 2 x 2 pixels.
        self.last = nn.Conv2d(plan[-1], channels * 4, 3, 1, 1)
        self.deal = nn.PixelShuffle(2)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        h = latents if self.embed is None else torch.cat([latents, self.embed(labels)], dim=1)
        h = self.first(h).view(len(h), -1, self.base, self.base)
        h = h.contiguous(memory_format=torch.channels_last)
        h = leaky_relu(h, SLOPE)
        for up, mix in zip(self.ups, self.mixes, strict=True):
            h = leaky_relu(up(h), SLOPE)
            h = h + mix(h)
            h = leaky_relu(h, SLOPE)
        return torch.tanh(self.deal(self.last(h)))


class ModernDiscriminator(nn.Module):
    """Strided convolutions to the coarse map, a feature vector, and a logit with projection on the category."""

    def __init__(self, *, size: int, channels: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        base, _ = base_side(size)
        down = tuple(reversed(plan))
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((channels, *down), down, strict=False)
        )
        features = 2 * down[-1]
        self.mix = nn.Conv2d(down[-1], down[-1], 3, 1, 1)
        self.features = nn.Linear(down[-1] * base**2, features)
        self.logit = nn.Linear(features, 1)
        self.project = nn.Embedding(categories, features) if categories else None

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        h = pictures.contiguous(memory_format=torch.channels_last)
        for down in self.downs:
            h = leaky_relu(down(h), SLOPE)
        h = leaky_relu(h + self.mix(h), SLOPE)
        h = leaky_relu(self.features(h.flatten(1)), SLOPE)
        logit: Tensor = self.logit(h).squeeze(1)
        if self.project is not None:
            logit = logit + (self.project(labels) * h).sum(dim=1) * h.shape[1] ** -0.5
        return logit


def _initialise(module: nn.Module, rng: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            scaled_normal(layer, rng)
        elif isinstance(layer, nn.Embedding):
            with torch.no_grad():
                layer.weight.normal_(generator=rng)


class Modern(Family):
    """See the module's text."""

    name = "modern"
    losses = ("rp", "ns", "hinge")

    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        on_gpu = device.type == "cuda"
        area = (facts.size / 64) ** 2
        return {
            "width": (64 if on_gpu else 24) if facts.size <= 64 else (48 if on_gpu else 16),
            "latent": 64,
            "lr": 2e-4 if on_gpu else 1e-3,
            "gamma": 2.0 * area,
            "batch_size": min(256 if on_gpu else 32, max(8, facts.count)),
            "ema_images": 500_000 if on_gpu else 10_000,
        }

    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        top = 512 if (config.width or 0) >= 48 else 128
        return {
            "size": facts.size,
            "channels": facts.channels,
            "latent": config.latent,
            "categories": facts.categories,
            "plan": list(channel_plan(facts.size, config.width or 24, top)),
        }

    def build_generator(self, spec: Mapping[str, Any]) -> Generator:
        return ModernGenerator(**{**spec, "plan": tuple(spec["plan"])})

    def create(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> AdversarialLearner:
        spec = self.spec(config, facts)
        generator = self.build_generator(spec)
        discriminator = ModernDiscriminator(
            size=facts.size, channels=facts.channels, categories=facts.categories, plan=tuple(spec["plan"])
        )
        _initialise(generator, seeded(config.seed, "init", "generator"))
        _initialise(discriminator, seeded(config.seed, "init", "discriminator"))
        with torch.no_grad():
            assert isinstance(generator, ModernGenerator)
            generator.last.weight.mul_(0.25)
            for mix in (*generator.mixes, discriminator.mix):
                mix.weight.zero_()
            discriminator.logit.weight.mul_(0.1)
            if discriminator.project is not None:
                discriminator.project.weight.mul_(0.1)
        to_device(generator, device)
        to_device(discriminator, device)
        names, probability = policy(facts.count, facts.channels) if config.augment == "auto" else ((), 0.0)
        settings = GameSettings(
            loss=LOSSES[config.loss or self.losses[0]],
            augment=Augment(names, probability),
            gamma=config.gamma or 0.0,
            lr=config.lr or 1e-3,
            betas=(0.0, 0.99),
            bf16=config.precision == "bf16",
        )
        return AdversarialLearner(generator, discriminator, settings, facts.categories)


FAMILY = Modern()
