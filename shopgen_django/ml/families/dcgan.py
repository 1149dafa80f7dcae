"""The classic arm: the network shape of DCGAN (Radford et al. 2015), batch norm in the generator.

Cross-entropy with the non-saturating (default) or the minimax generator loss, squared error (LSGAN, Mao et al. 2017),
hinge, or the critic of WGAN-GP (Gulrajani et al. 2017); on wish with an unrolled discriminator (:mod:`.unrolled`).
The discriminator has no batch norm: real and made pictures go through it in one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from shopgen_django.ml.augment import choose
from shopgen_django.ml.config import TrainConfig, base_side
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.losses import LOSSES
from shopgen_django.ml.networks import SLOPE, to_device
from shopgen_django.ml.seeding import generator as seeded

from .adversarial import AdversarialLearner, GameSettings
from .base import ChannelSlice, DataFacts, Family, Generator
from .modern import channel_plan
from .unrolled import UnrolledLearner, check_unrolled


class DcganGenerator(Generator):
    """Transposed convolutions with batch norm and ReLU, tanh at the end."""

    def __init__(self, *, size: int, channels: int, latent: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        self.latent = latent
        base, _ = base_side(size)
        self.embed = nn.Embedding(categories, latent) if categories else None
        self.first = nn.ConvTranspose2d(latent * (2 if categories else 1), plan[0], base, bias=False)
        outputs = (*plan[1:], channels)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=b == channels) for a, b in zip(plan, outputs, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in plan)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        h = latents if self.embed is None else torch.cat([latents, self.embed(labels)], dim=1)
        h = self.first(h[:, :, None, None])
        for norm, up in zip(self.norms, self.ups, strict=True):
            h = up(relu(norm(h)))
        return torch.tanh(h)


    def levels(self) -> tuple[tuple[ChannelSlice, ...], ...]:
        found = []
        for level in range(len(self.norms)):
            maker = "first" if level == 0 else f"ups.{level - 1}"
            slices = [
                # A channel whose scale and shift are zero is zero whatever the convolution before it makes.
                *(ChannelSlice(tensor=f"norms.{level}.{name}", axis=0, makes=True) for name in ("weight", "bias")),
                *(ChannelSlice(tensor=f"norms.{level}.running_{name}", axis=0) for name in ("mean", "var")),
                ChannelSlice(tensor=f"{maker}.weight", axis=1),
                ChannelSlice(tensor=f"ups.{level}.weight", axis=0),
            ]
            if level and self.ups[level - 1].bias is not None:
                slices.append(ChannelSlice(tensor=f"{maker}.bias", axis=0))
            found.append(tuple(slices))
        return tuple(found)

    def exportable(self) -> nn.Module:
        """Each batch norm folded into the transposed convolution before it: fewer layers, and right for 8 bit."""
        return _Folded(self)


class _Folded(nn.Module):
    """The same network in inference mode, without its batch norms."""

    def __init__(self, network: DcganGenerator) -> None:
        super().__init__()
        self.embed = network.embed
        layers = [network.first, *network.ups]
        self.layers = nn.ModuleList(
            fuse_conv_bn_eval(layer.eval(), norm.eval(), transpose=True)
            for layer, norm in zip(layers[:-1], network.norms, strict=True)
            if isinstance(norm, nn.BatchNorm2d)
        )
        self.layers.append(layers[-1])

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        h = latents if self.embed is None else torch.cat([latents, self.embed(labels)], dim=1)
        h = self.layers[0](h[:, :, None, None])
        for up in self.layers[1:]:
            h = up(relu(h))
        return torch.tanh(h)


class DcganDiscriminator(nn.Module):
    """Strided convolutions with leaky ReLU; the category, when there is one, comes in as an extra picture plane."""

    def __init__(self, *, size: int, channels: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        base, _ = base_side(size)
        self.embed = nn.Embedding(categories, size * size) if categories else None
        inputs = channels + (1 if categories else 0)
        down = tuple(reversed(plan))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((inputs, *down), down, strict=False))
        self.logit = nn.Conv2d(down[-1], 1, base)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        h = pictures
        if self.embed is not None:
            h = torch.cat([h, self.embed(labels).view(len(h), 1, self.size, self.size)], dim=1)
        for down in self.downs:
            h = leaky_relu(down(h), SLOPE)
        logit: Tensor = self.logit(h)
        return logit.flatten()


def _initialise(module: nn.Module, rng: torch.Generator) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for batch norm, as the paper has it."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0.0, 0.02, generator=rng)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.normal_(1.0, 0.02, generator=rng)
            elif isinstance(layer, nn.Embedding):
                layer.weight.normal_(0.0, 0.1, generator=rng)


class Dcgan(Family):
    """See the module's text."""

    name = "dcgan"
    losses = ("ns", "minimax", "lsgan", "hinge", "wgan-gp")

    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        if config.unroll:
            check_unrolled(config)
        on_gpu = device.type == "cuda"
        return {
            "width": 64 if on_gpu else 24,
            "latent": 100,
            "lr": 2e-4,
            "gamma": 0.0,
            "batch_size": min(128 if on_gpu else 32, max(8, facts.count)),
            "ema_images": 10_000,
            "warm_images": 0,
            "unroll": 0,
            "n_critic": LOSSES[config.loss or self.losses[0]].critic_steps,
        }

    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        width = config.width or 24
        return {
            "size": facts.size,
            "channels": facts.channels,
            "latent": config.latent,
            "categories": facts.categories,
            "plan": list(channel_plan(facts.size, width, 8 * width)),
        }

    def build_generator(self, spec: Mapping[str, Any]) -> Generator:
        return DcganGenerator(**{**spec, "plan": tuple(spec["plan"])})

    def create(
        self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures
    ) -> AdversarialLearner:
        spec = self.spec(config, facts)
        generator = self.build_generator(spec)
        discriminator = DcganDiscriminator(
            size=facts.size, channels=facts.channels, categories=facts.categories, plan=tuple(spec["plan"])
        )
        _initialise(generator, seeded(config.seed, "init", "generator"))
        _initialise(discriminator, seeded(config.seed, "init", "discriminator"))
        to_device(generator, device)
        to_device(discriminator, device)
        settings = GameSettings(
            loss=LOSSES[config.loss or self.losses[0]],
            augment=choose(config.augment, facts.count, facts.channels),
            gamma=config.gamma or 0.0,
            lr=config.lr or 2e-4,
            # A critic that is far ahead gives large, fast changing gradients: momentum would carry it past the mark.
            betas=(0.0, 0.9) if config.loss == "wgan-gp" else (0.5, 0.999),
            bf16=config.precision == "bf16" and not config.unroll,
            critic_steps=config.n_critic or 1,
        )
        if config.unroll:
            return UnrolledLearner(generator, discriminator, settings, unrolled=config.unroll)
        return AdversarialLearner(generator, discriminator, settings)


FAMILY = Dcgan()
