"""Options of private training. :class:`~shopgen_django.ml.config.TrainConfig` inherits them."""

from __future__ import annotations

from dataclasses import dataclass

from .family_options import FamilyOptions, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyOptions(FamilyOptions):
    """All but ``dp_epsilon`` do nothing without it, and are refused then."""

    dp_epsilon: float | None = option(
        None,
        group="privacy",
        kind=float,
        metavar="E",
        minimum=0.01,
        maximum=100.0,
        help="train with differential privacy and never spend more than E: the smaller, the less the model can tell "
        "about any one product's photos (10 is weak, 1 is strong). Needs many products: see the page on privacy",
    )
    dp_delta: float | None = option(
        None,
        group="privacy",
        kind=float,
        metavar="D",
        minimum=1e-12,
        maximum=0.1,
        help="probability with which the promise of E may fail; default: 1e-5, or less for 50,000 products and more",
    )
    dp_clip: float | None = option(
        None,
        group="privacy",
        kind=float,
        metavar="C",
        minimum=1e-6,
        help="largest length of one product's gradient (default: 1)",
    )
    dp_noise: float | None = option(
        None,
        group="privacy",
        kind=float,
        metavar="S",
        minimum=0.05,
        help="noise, as a multiple of --dp-clip, instead of the one chosen from E and the length; the run ends when "
        "E is spent",
    )
    unsafe_metrics: bool = option(
        False,
        group="privacy",
        kind=bool,
        help="also write figures and sheets that look at the photos (losses on photos, reals.png, metrics). They are "
        "outside the promise: the model keeps it, the figures don't",
    )
