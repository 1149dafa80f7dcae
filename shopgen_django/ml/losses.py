"""Adversarial losses on logits, each with the quantity it minimises, and the gradient penalties R1 and R2.

With D = sigmoid(logit), Goodfellow et al. 2014 let D maximise ``log D(x) + log(1 - D(G(z)))`` and G minimise the second
term. Written with softplus, which stays finite for any logit:

=============  ===========================================  =====================  ============================
name           what G minimises                             code                   derivative by its logit l
=============  ===========================================  =====================  ============================
``minimax``    ``+log(1 - D(G(z)))``                        ``-softplus(l)``       ``-sigmoid(l)``
``ns``         ``-log D(G(z))`` (non-saturating)            ``softplus(-l)``       ``-sigmoid(-l)``
``hinge``      ``-l``                                       ``-l``                 ``-1``
``lsgan``      ``(l - 1)**2 / 2``                           ``(l - 1)**2 / 2``     ``l - 1``
``wgan-gp``    ``-l``                                       ``-l``                 ``-1``
``rp``         ``log(1 + exp(D(x) - D(G(z))))``             ``softplus(r - l)``    ``-sigmoid(r - l)``
=============  ===========================================  =====================  ============================

All of them push the logit of a made picture up. Descending ``-log(1 - D(G(z)))``, that is ``softplus(l)``, would push
it down: the generator would help the discriminator. ``rp`` is the relativistic pairing loss (Jolicoeur-Martineau 2018)
as used with R1 and R2 by Huang et al. 2024 (R3GAN). ``wgan-gp`` (Gulrajani et al. 2017) has a critic without a
probability: it scores ``l(x) - l(G(z))`` and is held to slopes of about 1 by :func:`slope_penalty`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

TwoLogits = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialLoss:
    """Both sides of a game; each takes ``(real_logits, fake_logits)`` and gives the mean over the batch.

    ``paired`` says that the generator's side looks at the real logits too. ``middle`` is the logit between "real" and
    "made"; ``None`` where only differences of logits mean something.
    """

    name: str
    discriminator: TwoLogits
    generator: TwoLogits
    paired: bool = False
    middle: float | None = 0.0
    slope_weight: float = 0.0
    """Weight of :func:`slope_penalty` in the discriminator's loss; 0 for losses without it."""
    critic_steps: int = 1
    """Steps of the discriminator for one of the generator, unless a run says otherwise."""


def _cross_entropy_d(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real).mean() + softplus(fake).mean()


def _hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    return relu(1.0 - real).mean() + relu(1.0 + fake).mean()


def _lsgan_d(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * ((real - 1.0).square().mean() + fake.square().mean())


LOSSES: dict[str, AdversarialLoss] = {
    loss.name: loss
    for loss in (
        AdversarialLoss(
            name="rp",
            discriminator=lambda real, fake: softplus(fake - real).mean(),
            generator=lambda real, fake: softplus(real - fake).mean(),
            paired=True,
            middle=None,
        ),
        AdversarialLoss(
            name="ns",
            discriminator=_cross_entropy_d,
            generator=lambda real, fake: softplus(-fake).mean(),
        ),
        AdversarialLoss(
            name="minimax",
            discriminator=_cross_entropy_d,
            generator=lambda real, fake: -softplus(fake).mean(),
        ),
        AdversarialLoss(name="hinge", discriminator=_hinge_d, generator=lambda real, fake: -fake.mean()),
        AdversarialLoss(
            name="lsgan",
            discriminator=_lsgan_d,
            generator=lambda real, fake: 0.5 * (fake - 1.0).square().mean(),
            middle=0.5,
        ),
        AdversarialLoss(
            name="wgan-gp",
            discriminator=lambda real, fake: fake.mean() - real.mean(),
            generator=lambda real, fake: -fake.mean(),
            middle=None,
            slope_weight=10.0,
            critic_steps=5,
        ),
    )
}


def gradient_penalties(logits: Tensor, *pictures: Tensor) -> tuple[Tensor, ...]:
    """For each batch of pictures the mean of the squared norm of each picture's own gradient.

    R1 is that of real pictures, R2 that of made ones (Mescheder et al. 2018).

    Args:
        logits: ``(n,)``, computed from all the pictures; each logit may depend on one picture only.
        pictures: ``(m, c, h, w)`` each, with ``requires_grad``.

    Computed in fp32 whatever the forward pass used.
    """
    with torch.autocast(device_type=logits.device.type, enabled=False):
        gradients = torch.autograd.grad(logits.float().sum(), pictures, create_graph=True)
        return tuple(g.float().square().sum(dim=(1, 2, 3)).mean() for g in gradients)


def slope_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """Mean over pictures of (norm of the picture's own gradient - 1) squared (Gulrajani et al. 2017).

    Two pictures with gradients of norm 1 and 3 give (0 + 4) / 2 = 2. One norm over the whole batch would give another
    number, and would let one steep picture pay for many flat ones.

    Args:
        logits: ``(n,)``, computed from ``pictures``; each may depend on one picture only.
        pictures: ``(n, c, h, w)`` between real and made ones, with ``requires_grad``.

    Computed in fp32 whatever the forward pass used.
    """
    with torch.autocast(device_type=logits.device.type, enabled=False):
        (gradients,) = torch.autograd.grad(logits.float().sum(), pictures, create_graph=True)
        # The norm has no derivative at 0; the floor keeps a flat critic's penalty (1) and gives it a gradient of 0.
        norms = gradients.float().square().flatten(1).sum(dim=1).clamp_min(1e-12).sqrt()
        return (norms - 1.0).square().mean()
