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
``rp``         ``log(1 + exp(D(x) - D(G(z))))``             ``softplus(r - l)``    ``-sigmoid(r - l)``
=============  ===========================================  =====================  ============================

All of them push the logit of a made picture up. Descending ``-log(1 - D(G(z)))``, that is ``softplus(l)``, would push
it down: the generator would help the discriminator. ``rp`` is the relativistic pairing loss (Jolicoeur-Martineau 2018)
as used with R1 and R2 by Huang et al. 2024 (R3GAN).
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

    ``paired`` says that the generator's side looks at the real logits too.
    """

    name: str
    discriminator: TwoLogits
    generator: TwoLogits
    paired: bool = False


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
