"""Unrolled GAN (Metz et al. 2017): the generator answers the discriminator as it will be K steps from now.

The discriminator's parameters after K steps of its own optimiser on the batch at hand are a function of the generator.
The generator descends its loss against *that* discriminator, with the gradient through all K steps: it is told how the
discriminator would react, not only where it stands. (Taking the steps, then treating their result as a constant, would
drop exactly this part.) The discriminator itself takes its ordinary step from where it is; what was unrolled is thrown
away, and neither its weights nor its optimiser's moments are touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.networks import forward_flops

from .adversarial import AdversarialLearner, GameSettings
from .base import Batch, Figures, Generator

SMALLEST_VARIANCE = 1e-16
"""Under the square root of Adam: the derivative of the root at 0 is infinite."""

Parameters = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamState:
    """Moments by parameter and the number of steps taken, as plain values of a function."""

    mean: Parameters
    square: Parameters
    steps: float

    @classmethod
    def of(cls, optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> AdamState:
        """Copies of what ``optimiser`` has gathered; zeros for parameters that it has not stepped yet."""
        mean, square, steps = {}, {}, 0.0
        for name, parameter in parameters.items():
            kept: Mapping[str, Any] = optimiser.state.get(parameter, {})
            mean[name] = kept["exp_avg"].clone() if kept else torch.zeros_like(parameter)
            square[name] = kept["exp_avg_sq"].clone() if kept else torch.zeros_like(parameter)
            steps = float(kept["step"]) if kept else steps
        return cls(mean=mean, square=square, steps=steps)


def adam_step(
    parameters: Parameters,
    gradients: Parameters,
    state: AdamState,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> tuple[Parameters, AdamState]:
    """One step of Adam (Kingma and Ba 2015) as a function: new parameters and moments, differentiable by everything."""
    steps = state.steps + 1.0
    mean = {n: betas[0] * state.mean[n] + (1.0 - betas[0]) * g for n, g in gradients.items()}
    square = {n: betas[1] * state.square[n] + (1.0 - betas[1]) * g.square() for n, g in gradients.items()}
    first, second = 1.0 - betas[0] ** steps, 1.0 - betas[1] ** steps
    moved = {
        n: p - lr * (mean[n] / first) / ((square[n] / second).clamp_min(SMALLEST_VARIANCE).sqrt() + eps)
        for n, p in parameters.items()
    }
    return moved, AdamState(mean=mean, square=square, steps=steps)


def unroll(
    loss: Callable[[Parameters], Tensor],
    parameters: Parameters,
    state: AdamState,
    *,
    steps: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    through: bool = True,
) -> Parameters:
    """The parameters after ``steps`` steps down ``loss``, as a function of everything that ``loss`` depends on.

    Args:
        loss: scalar loss for given parameters; called once a step.
        parameters: where to start, by name; not changed.
        state: Adam's moments at the start; not changed.
        steps: how many.
        lr, betas, eps: Adam's settings.
        through: False drops the gradient through the steps (no unrolling: kept to show the difference).
    """
    current = {name: value.detach().requires_grad_(steps > 0) for name, value in parameters.items()}
    for _ in range(steps):
        found = torch.autograd.grad(loss(current), list(current.values()), create_graph=through)
        current, state = adam_step(current, dict(zip(current, found, strict=True)), state, lr=lr, betas=betas, eps=eps)
    return current


class UnrolledLearner(AdversarialLearner):
    """The game with an unrolled discriminator in the generator's step; ``unrolled`` 0 is the plain game, bit by bit.

    Works in fp32, with discriminators without batch statistics, losses without penalties, one process and whole
    batches: anything else would unroll another discriminator than the one that is trained.
    """

    def __init__(
        self, generator: Generator, discriminator: nn.Module, settings: GameSettings, *, unrolled: int
    ) -> None:
        super().__init__(generator, discriminator, settings)
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in discriminator.modules()):
            raise ConfigError("Unrolling does not work with batch norm in the discriminator: its buffers would change.")
        self.unrolled = unrolled

    def _generator_loss(self, part: Batch) -> tuple[Tensor, Figures]:
        if part.share != 1.0:
            raise ConfigError(
                "--unroll needs the whole batch in one process at once, since the discriminator is unrolled on it. "
                "Use one process, and a smaller --batch-size when memory is short."
            )
        settings, labels = self.settings, part.labels_again
        fake = self.generator(self._latents(part, labels), labels)
        seen = settings.augment(fake, part.rng)
        wanted = self.unrolled > 0 or settings.loss.paired
        real = settings.augment(part.real_again, part.rng) if wanted else None
        after = self._discriminator_after(seen, real, labels)
        logits = self._logits(after, seen, labels)
        real_logits = self._logits(after, real, labels) if real is not None else logits.detach()
        loss = settings.loss.generator(real_logits, logits)
        extra = self._generator_extra(part)
        return loss if extra is None else loss + extra, {"loss_g": loss.detach()}

    def _discriminator_after(self, fake: Tensor, real: Tensor | None, labels: Tensor) -> Parameters:
        """The discriminator's parameters K steps on; the same minibatch in each of them."""
        own = dict(self.discriminator.named_parameters())
        group = self._d_optimiser.param_groups[0]

        def loss(parameters: Parameters) -> Tensor:
            assert real is not None
            both = self._logits(parameters, torch.cat([real, fake]), torch.cat([labels, labels]))
            on_real, on_fake = both.chunk(2)
            return self.settings.loss.discriminator(on_real, on_fake)

        return unroll(
            loss,
            {name: value.detach() for name, value in own.items()},
            AdamState.of(self._d_optimiser, own),
            steps=self.unrolled,
            lr=float(group["lr"]),
            betas=tuple(group["betas"]),
            eps=float(group["eps"]),
        )

    def _logits(self, parameters: Parameters, pictures: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.discriminator, parameters, (pictures, labels))
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def flops_per_image(self) -> float:
        """``18 K D`` more than the plain game: a step on real and made is 6 D, the way back through it twice that."""
        latent = torch.zeros(1, self.generator.latent, device=self._device)
        label = torch.zeros(1, dtype=torch.int64, device=self._device)
        self.generator.eval()
        _g, picture = forward_flops(self.generator, latent, label)
        self.generator.train()
        d, _ = forward_flops(self.discriminator, picture, label)
        return super().flops_per_image() + 18.0 * self.unrolled * d


def check_unrolled(config: TrainConfig) -> None:
    """Say what unrolling can't be combined with.

    Raises:
        ConfigError: a loss with a gradient penalty, or several steps of the discriminator.
    """
    if (config.gamma or 0.0) > 0 or config.loss == "wgan-gp":
        raise ConfigError(
            "--unroll is not for losses with a gradient penalty (--gamma above 0, --loss wgan-gp): it would need "
            "third derivatives at every inner step. Use --loss ns, minimax, hinge or lsgan with --gamma 0."
        )
    if (config.n_critic or 1) > 1:
        raise ConfigError("--unroll and --n-critic are two answers to one question; use one of them.")
