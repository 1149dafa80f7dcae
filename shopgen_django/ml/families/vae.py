"""Variational autoencoder (Kingma and Welling 2014) with a second one on its latent space (Dai and Wipf 2019).

The first learns to redraw photos from few numbers that are spread roughly like random ones; "roughly" is why random
numbers alone give poor pictures. The second, small one learns how the numbers of photos are really spread, and sampling
goes through both. Its gradient does not reach the first (its input is cut off), so the two objectives stay apart as in
the paper; other than there they are trained side by side, so that a run can be stopped at any moment.

Pictures of a VAE are softer than those of a GAN: the mean of all that a pixel could be is what it draws.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.networks import forward_flops, to_device
from shopgen_django.ml.seeding import generator as seeded
from shopgen_django.ml.seeding import normal

from .base import Batch, DataFacts, Family, Figures, Generator, Learner
from .modern import initialise, shape
from .vae_networks import Encoder, LatentEncoder, Likelihood, VaeGenerator, gaussian_kl, to_picture

ACTIVE = 0.05
"""Nats from which on a latent number counts as in use for a photo."""
WIDTH_RATE = 10.0
"""How much faster the widths learn than the networks: each is a single number with far to go."""


class VaeLearner(Learner):
    """One step: redraw a batch of photos through the bottleneck, and their latent numbers through the second one."""

    generator: VaeGenerator

    def __init__(
        self,
        generator: VaeGenerator,
        encoder: Encoder,
        likelihood: Likelihood,
        latent_encoder: LatentEncoder | None,
        *,
        lr: float,
        kl_warmup: int,
        free_bits: float,
        bf16: bool,
    ) -> None:
        self.generator = generator
        self.encoder = encoder
        self.likelihood = likelihood
        self.latent_encoder = latent_encoder
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self._bf16 = bf16
        self._device = next(generator.parameters()).device
        trained = [p for module in self.modules().values() for p in module.parameters()]
        widths = [p for p in trained if p.dim() == 0]
        self._parameters = [p for p in trained if p.dim() > 0] + widths
        groups: list[dict[str, Any]] = [{"params": [p for p in trained if p.dim() > 0], "lr": lr}]
        if widths:
            groups.append({"params": widths, "lr": WIDTH_RATE * lr})
        self._optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-8, fused=True)

    def modules(self) -> dict[str, nn.Module]:
        own: dict[str, nn.Module] = {
            "generator": self.generator, "encoder": self.encoder, "likelihood": self.likelihood
        }  # fmt: skip
        if self.latent_encoder is not None:
            own["latent_encoder"] = self.latent_encoder
        return own

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"vae": self._optimiser}

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(device_type=self._device.type, dtype=torch.bfloat16, enabled=self._bf16):
            yield

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        return self._descend(batch, self._loss, self._optimiser, self._parameters, norm="grad_norm_g")

    def weight_of_kl(self, images_seen: int) -> float:
        """Grows from 0 to 1 over the first ``kl_warmup`` pictures (Bowman et al. 2016)."""
        return min(1.0, images_seen / self.kl_warmup) if self.kl_warmup else 1.0

    def _loss(self, part: Batch) -> tuple[Tensor, Figures]:
        real, labels = part.real, part.labels
        with self._precision():
            mean, log_variance = (value.float() for value in self.encoder(real, labels))
            codes = mean + (0.5 * log_variance).exp() * normal(part.rng, *mean.shape).to(self._device)
            drawn = self.generator.decoder(codes, labels).float()
        nats = self.likelihood(drawn, real).mean()
        kl = gaussian_kl(mean, log_variance)
        # Free bits (Kingma et al. 2016): up to this much a number costs nothing, so that it may come into use. Here for
        # each photo by itself, so that a batch in parts or over several processes gives the gradient of the whole.
        charged = kl.clamp_min(self.free_bits).sum(dim=1).mean()
        pixels = real[0].numel()
        loss = (nats + self.weight_of_kl(part.images_seen) * charged) / pixels
        figures = {"loss_g": loss.detach()}
        if self.latent_encoder is not None:
            second = self._second_stage(codes.detach(), labels, part)
            figures["second_stage"] = second.detach()
            loss = loss + second
        with torch.no_grad():
            error = (to_picture(drawn, self.generator.likelihood).clamp(-1.0, 1.0) - real).square()
            figures |= {
                "reconstruction": nats.detach(),
                "kl": kl.sum(dim=1).mean(),
                "elbo": -(nats + kl.sum(dim=1).mean()),
                "psnr": (10.0 * torch.log10(4.0 / error.flatten(1).mean(dim=1).clamp_min(1e-8))).mean(),
                "active": (kl > ACTIVE).float().mean(),
                "width": self.likelihood.log_width.detach().exp(),
            }
        return loss, figures

    def _second_stage(self, codes: Tensor, labels: Tensor, part: Batch) -> Tensor:
        """Loss of the second VAE on the first one's latent numbers, in nats a number."""
        second = self.generator.second
        assert self.latent_encoder is not None and second is not None
        mean, log_variance = self.latent_encoder(codes, labels)
        numbers = mean + (0.5 * log_variance).exp() * normal(part.rng, *mean.shape).to(self._device)
        nats = second.nats(second(numbers, labels), codes)
        return (nats + gaussian_kl(mean, log_variance).sum(dim=1)).mean() / codes.shape[1]

    def flops_per_image(self) -> float:
        """``3 (E + G)`` of the forward passes' operations; the second stage is small and left out."""
        label = torch.zeros(1, dtype=torch.int64, device=self._device)
        code = torch.zeros(1, self.generator.codes, device=self._device)
        g, picture = forward_flops(self.generator.decoder, code, label)
        e, _ = forward_flops(self.encoder, picture, label)
        return 3.0 * (g + e)


class Vae(Family):
    """See the module's text."""

    name = "vae"
    losses = ("elbo",)

    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        on_gpu = device.type == "cuda"
        return {
            "width": 64 if on_gpu else 16 if facts.size >= 48 else 32,
            "latent": 64 if facts.size >= 48 else 32,
            "lr": 5e-4 if on_gpu else 1e-3,
            "batch_size": min(256 if on_gpu else 32, max(8, facts.count)),
            "ema_images": 10_000,
            "warm_images": 0,
            "likelihood": "bernoulli" if facts.channels == 1 else "gaussian",
            "kl_warmup": 10_000,
            "free_bits": 0.05,
            "second_stage": True,
        }

    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        return {
            **shape(config, facts),
            "likelihood": config.likelihood,
            "second_stage": config.second_stage,
        }

    def build_generator(self, spec: Mapping[str, Any]) -> Generator:
        return VaeGenerator(**{**spec, "plan": tuple(spec["plan"])})

    def create(self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures) -> VaeLearner:
        spec = self.spec(config, facts)
        generator = self.build_generator(spec)
        assert isinstance(generator, VaeGenerator)
        latent, categories = generator.codes, facts.categories
        encoder = Encoder(
            size=facts.size, channels=facts.channels, latent=latent, categories=categories, plan=tuple(spec["plan"])
        )
        likelihood = Likelihood(generator.likelihood)
        latent_encoder = LatentEncoder(latent=latent, categories=categories) if generator.second is not None else None
        networks: dict[str, nn.Module] = {"generator": generator, "encoder": encoder}
        if latent_encoder is not None:
            networks["latent_encoder"] = latent_encoder
        for name, module in networks.items():
            initialise(module, seeded(config.seed, "init", name))
        _start_small(generator, encoder, latent_encoder)
        for module in (*networks.values(), likelihood):
            to_device(module, device)
        return VaeLearner(
            generator,
            encoder,
            likelihood,
            latent_encoder,
            lr=config.lr or 1e-3,
            kl_warmup=config.kl_warmup or 0,
            free_bits=config.free_bits or 0.0,
            bf16=config.precision == "bf16",
        )


@torch.no_grad()
def _start_small(generator: VaeGenerator, encoder: Encoder, latent_encoder: LatentEncoder | None) -> None:
    """Pictures near grey, latent numbers near nought with little noise: the first steps learn to redraw."""
    outputs: list[nn.Module] = [generator.decoder.last, *generator.decoder.pictures]
    for layer in outputs:
        assert isinstance(layer.weight, Tensor)
        layer.weight.mul_(0.25)
    for small in (encoder.mean, encoder.log_variance):
        small.weight.mul_(0.1)
    if latent_encoder is not None:
        latent_encoder.layers.last.weight.mul_(0.1)
    encoder.log_variance.bias.fill_(math.log(0.1))


FAMILY = Vae()
