"""Options that belong to some families only. :class:`~shopgen_django.ml.config.TrainConfig` inherits them.

Each field names its families; given for another one it is refused, so that nobody believes that it did something.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def option(
    default: Any,
    *,
    group: str,
    help: str,  # noqa: A002 - argparse's own word
    kind: type | None = None,
    choices: tuple[Any, ...] | None = None,
    metavar: str | None = None,
    identity: bool = True,
    minimum: float | None = None,
    maximum: float | None = None,
    many: bool = False,
    families: tuple[str, ...] = (),
) -> Any:
    """A field with what :mod:`.options` needs.

    Args:
        default: the field's default; ``None`` means that the family chooses.
        group: a key of :data:`~shopgen_django.ml.config.GROUPS`.
        help: the text of ``--help``.
        kind: type of the value on the command line.
        choices: values allowed.
        metavar: how ``--help`` names the value.
        identity: a resumed run must have the same value.
        minimum: smallest value allowed.
        maximum: largest value allowed.
        many: a list.
        families: the families that have this option; empty for all.
    """
    metadata = {
        "group": group,
        "help": help,
        "kind": kind,
        "choices": choices,
        "metavar": metavar,
        "identity": identity,
        "minimum": minimum,
        "maximum": maximum,
        "many": many,
        "families": families,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyOptions:
    """See the module's text. ``None``: the family chooses."""

    metrics: str = option(
        "auto",
        group="output",
        kind=str,
        metavar="LIST",
        identity=False,
        families=("modern", "dcgan", "vae"),
        help="figures that compare the pictures of each snapshot with the photos, separated by commas: kid, coverage, "
        "precision, recall, density, fid, memory. auto: kid and coverage from 64 photos on; none: nothing is measured. "
        "Takes at most a tenth of the time",
    )

    n_critic: int | None = option(
        None,
        group="expert",
        kind=int,
        metavar="N",
        minimum=1,
        families=("dcgan", "modern"),
        help="steps of the discriminator for one of the generator (wgan-gp: 5, else 1)",
    )
    unroll: int | None = option(
        None,
        group="model",
        kind=int,
        metavar="K",
        minimum=0,
        families=("dcgan",),
        help="dcgan: unrolled GAN, the generator's gradient passes through K steps of the discriminator; 0: plain",
    )
    likelihood: str | None = option(
        None,
        group="model",
        choices=("gaussian", "laplace", "bernoulli"),
        families=("vae",),
        help="vae: how a pixel is believed to scatter around the drawn one. gaussian and laplace learn their width; "
        "bernoulli (cross-entropy) suits grey pictures on plain grounds",
    )
    kl_warmup: int | None = option(
        None,
        group="expert",
        kind=int,
        metavar="N",
        minimum=0,
        families=("vae",),
        help="vae: pictures over which the weight of the KL term grows from 0 to 1",
    )
    free_bits: float | None = option(
        None,
        group="expert",
        kind=float,
        metavar="X",
        minimum=0,
        families=("vae",),
        help="vae: nats that each latent number may carry without being charged for",
    )
    second_stage: bool | None = option(
        None,
        group="model",
        kind=bool,
        families=("vae",),
        help="vae: learn with a second, small VAE where photos lie in the latent space, and sample from there (on)",
    )
    noise: tuple[str, ...] = option(
        (),
        group="model",
        kind=str,
        choices=("gaussian", "camera", "jpeg"),
        metavar="KIND",
        many=True,
        families=("denoiser",),
        help="denoiser: kinds of noise to learn (gaussian, camera, jpeg; all three by default)",
    )
    adversarial: float | None = option(
        None,
        group="expert",
        kind=float,
        metavar="X",
        minimum=0,
        maximum=0.01,
        families=("denoiser",),
        help="denoiser: weight of a patch discriminator's judgement; 0 leaves it out and gives the best PSNR",
    )
