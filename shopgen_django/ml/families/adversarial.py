"""The step of a two-player game, shared by the families that have a discriminator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shopgen_django.ml.augment import Augment
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.losses import AdversarialLoss, gradient_penalties, slope_penalty
from shopgen_django.ml.networks import forward_flops
from shopgen_django.ml.seeding import uniform
from shopgen_django.ml.steering import Steering

from .base import Batch, Figures, Generator, Learner


@dataclass(frozen=True, slots=True, kw_only=True)
class GameSettings:
    """How two networks are played against each other."""

    loss: AdversarialLoss
    augment: Augment
    gamma: float
    """Weight of R1 + R2, halved; 0 leaves both out."""
    lr: float
    betas: tuple[float, float]
    bf16: bool
    critic_steps: int = 1
    """Steps of the discriminator for one of the generator."""


class AdversarialLearner(Learner):
    """One step: the discriminator on real and made pictures, then the generator against it.

    With ``gamma`` > 0 the discriminator's loss has ``gamma / 2 * (R1 + R2)``, both taken at the pictures before
    augmentation, each step. Made pictures get the labels of the real ones they are paired with.
    """

    generator: Generator
    steering: Steering | None = None
    """Sets the strength of augmentation; None where it is fixed."""
    origin: Mapping[str, Any] = {}
    """The model that was begun with, for ``model.json``; empty for none."""
    told: tuple[str, ...] = ()

    def __init__(self, generator: Generator, discriminator: nn.Module, settings: GameSettings) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.settings = settings
        self._make: Callable[[Tensor, Tensor], Tensor] = generator
        self._judge: Callable[[Tensor, Tensor], Tensor] = discriminator
        self._device = next(generator.parameters()).device
        # One fused kernel per optimiser: with networks this small the many small ones would cost more than the step.
        self._g_optimiser = torch.optim.Adam(
            generator.parameters(), lr=settings.lr, betas=settings.betas, eps=1e-8, fused=True
        )
        self._d_optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=settings.lr, betas=settings.betas, eps=1e-8, fused=True
        )
        self._g_parameters = list(generator.parameters())
        self._d_parameters = list(discriminator.parameters())

    def modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self._g_optimiser, "discriminator": self._d_optimiser}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        figures = self._discriminator_step(batch)
        if self._is_generators_turn(batch):
            figures.update(self._generator_step(batch))
        return figures

    def _is_generators_turn(self, batch: Batch) -> bool:
        """Every ``critic_steps``-th step, told from the pictures seen: a resumed run goes on in the same rhythm."""
        number = batch.images_seen // (batch.total or len(batch.real))
        return number % self.settings.critic_steps == self.settings.critic_steps - 1

    def _latents(self, batch: Batch, labels: Tensor) -> Tensor:
        return self.generator.draw(batch.rng, labels).to(self._device)

    def compile_networks(self, backend: str) -> str:
        self._make = torch.compile(self.generator, backend=backend)
        self._judge = torch.compile(self.discriminator, backend=backend)
        if self.settings.gamma > 0 or self.settings.loss.slope_weight > 0:
            # PyTorch has no gradient of a gradient of compiled code.
            return "Compiled: both networks, but for the discriminator's penalties, which need second derivatives."
        return "Compiled: both networks."

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(device_type=self._device.type, dtype=torch.bfloat16, enabled=self.settings.bf16):
            yield

    def steer(self, pictures: Pictures, config: TrainConfig, *, begin_at: float = 0.0) -> None:
        """Let the photos that are held out set the strength of augmentation, from ``begin_at`` pictures seen on."""
        self.steering = Steering(
            self.settings.augment,
            pictures,
            seed=config.seed,
            batch=config.batch_size or 1,
            begin_at=begin_at,
        )

    def notes(self) -> tuple[str, ...]:
        return self.told

    def card(self) -> dict[str, Any]:
        return {"init": dict(self.origin)} if self.origin else {}

    def before_step(self, step: int, images_seen: int) -> None:
        if self.steering is not None:
            self.steering.before_step(self, step, images_seen)

    def extra_state(self) -> dict[str, Any]:
        return {} if self.steering is None else {"steering": self.steering.state()}

    def load_extra_state(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        if self.steering is not None and "steering" in values:
            self.steering.load_state(values["steering"])

    def _discriminator_step(self, batch: Batch) -> Figures:
        figures = self._descend(
            batch, self._discriminator_loss, self._d_optimiser, self._d_parameters, norm="grad_norm_d"
        )
        return figures if self.steering is None else figures | self.steering.figures()

    def _discriminator_loss(self, part: Batch) -> tuple[Tensor, Figures]:
        settings = self.settings
        penalised = settings.gamma > 0
        real = part.real
        with torch.no_grad(), self._precision():
            fake = self._make(self._latents(part, part.labels), part.labels).float()
        if penalised:
            real = real.detach().requires_grad_()
            fake.requires_grad_()
        # Real and made pictures go through in one batch: a network without batch statistics gives the same numbers,
        # and larger batches keep the cores busy. Networks with batch norm must see them apart (see dcgan).
        with self._precision():
            both = settings.augment(torch.cat([real, fake]), part.rng)
            labels = torch.cat([part.labels, part.labels])
            logits = (self.discriminator if penalised else self._judge)(both, labels).float()
        real_logits, fake_logits = logits.chunk(2)
        loss = settings.loss.discriminator(real_logits, fake_logits)
        figures = {"loss_d": loss.detach()}
        if settings.loss.slope_weight > 0:
            slope = self._slope(both, part)
            loss = loss + settings.loss.slope_weight * slope
            figures["slope"] = slope.detach()
        if penalised:
            r1, r2 = gradient_penalties(logits, real, fake)
            loss = loss + 0.5 * settings.gamma * (r1 + r2)
            figures |= {"r1": r1.detach(), "r2": r2.detach()}
        real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
        figures |= {
            "real_logit": real_logits.mean(),
            "fake_logit": fake_logits.mean(),
            "accuracy_d": self._accuracy(real_logits, fake_logits),
        }
        return loss, figures

    def _slope(self, both: Tensor, part: Batch) -> Tensor:
        """The slope penalty between the real and the made pictures as the discriminator sees them."""
        real, fake = both.detach().chunk(2)
        share = uniform(part.rng, len(real)).to(self._device).view(-1, *[1] * (real.dim() - 1))
        between = torch.lerp(real, fake, share.to(real.dtype)).requires_grad_()
        with self._precision():
            logits = self.discriminator(between, part.labels)
        return slope_penalty(logits, between)

    def _accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """Share that the discriminator gets right: pairs for a loss whose level is arbitrary, else signs."""
        middle = self.settings.loss.middle
        if middle is None:
            return (real > fake).float().mean()
        return 0.5 * ((real > middle).float().mean() + (fake < middle).float().mean())

    def _generator_step(self, batch: Batch) -> Figures:
        return self._descend(batch, self._generator_loss, self._g_optimiser, self._g_parameters, norm="grad_norm_g")

    def _generator_loss(self, part: Batch) -> tuple[Tensor, Figures]:
        settings = self.settings
        labels = part.labels_again
        self.discriminator.requires_grad_(False)
        with self._precision():
            fake = self._make(self._latents(part, labels), labels)
            fake_logits = self._judge(settings.augment(fake, part.rng), labels).float()
            real_logits = fake_logits.detach()
            if settings.loss.paired:
                with torch.no_grad():
                    seen = settings.augment(part.real_again, part.rng)
                    real_logits = self._judge(seen, labels).float()
        self.discriminator.requires_grad_(True)
        loss = settings.loss.generator(real_logits, fake_logits)
        extra = self._generator_extra(part)
        return loss if extra is None else loss + extra, {"loss_g": loss.detach()}

    def _generator_extra(self, part: Batch) -> Tensor | None:
        """A term that a family adds to the generator's loss."""
        return None

    def flops_per_image(self) -> float:
        """``4 G + 8 D``, or ``4 G + 15 D`` with penalties and a paired loss, of the forward passes' operations.

        D step: making is 1 G; plain 2 passes of 3 D each, with penalties 12 D. G step: 3 G, 2 D for the gradient by
        the picture, and 1 D for the real pictures of a paired loss. A slope penalty is 6 D on one picture more. With
        several critic steps the G step counts its share.
        """
        latent = torch.zeros(1, self.generator.latent, device=self._device)
        label = torch.zeros(1, dtype=torch.int64, device=self._device)
        self.generator.eval()  # one picture has no batch statistics
        g, picture = forward_flops(self.generator, latent, label)
        self.generator.train()
        d, _ = forward_flops(self.discriminator, picture, label)
        loss = self.settings.loss
        d_step = (12.0 if self.settings.gamma > 0 else 6.0) + (6.0 if loss.slope_weight > 0 else 0.0)
        g_step = 3.0 * g + (3.0 if loss.paired else 2.0) * d
        return g + d_step * d + g_step / self.settings.critic_steps
