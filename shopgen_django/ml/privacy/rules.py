"""What would void the guarantee, refused before anything is read; and the choices that private training needs.

The guarantee holds because photos touch nothing but the discriminator's clipped and noised gradient. Whatever else
looks at them is a query that nobody pays for. So the rule is: an option that was not examined for private training
(:data:`EXAMINED`) is refused as soon as it is used, and the known ones with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import ConfigError

from .learner import SINGLE_LOSSES

FAMILIES = ("modern", "dcgan")
"""Families whose discriminator is the only network that sees photos, with layers that Opacus knows."""

EXAMINED = frozenset({
    # where pictures come from, and how each is made ready by itself
    "source", "category", "prepare", "cutout", "fit", "flip", "allow_bad_files", "size", "channels",
    # the networks, and steps that photos have no say in
    "architecture", "loss", "conditional", "width", "latent", "lr", "batch_size", "ema_images", "seed", "n_critic",
    # length, machine, output
    "minutes", "images_seen", "device", "precision", "threads", "output", "tick_seconds", "snapshot_seconds",
    # the promise itself
    "dp_epsilon", "dp_delta", "dp_clip", "dp_noise", "unsafe_metrics",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An option that voids the guarantee when ``broken`` says so of its value."""

    option: str
    broken: Callable[[Any], bool]
    reason: str


def _used(value: Any) -> bool:
    return bool(value)


def _more_than(limit: float) -> Callable[[Any], bool]:
    return lambda value: value is not None and value > limit


def _other_than(*allowed: Any) -> Callable[[Any], bool]:
    return lambda value: value is not None and value not in allowed


RULES: tuple[Rule, ...] = (
    Rule(
        option="architecture",
        broken=_other_than(*FAMILIES),
        reason="only a discriminator is trained privately; in this architecture the network that is given away sees "
        f"the photos itself. Use --architecture {' or '.join(FAMILIES)}",
    ),
    Rule(
        option="loss",
        broken=lambda value: value == "rp",
        reason="the generator's gradient would contain the discriminator's judgement of real photos, unclipped and "
        "unnoised. Use --loss ns",
    ),
    Rule(
        option="loss",
        broken=_other_than("rp", *SINGLE_LOSSES),
        reason="its loss is no sum over single pictures, so that one product's share can't be clipped. Use --loss ns",
    ),
    Rule(
        option="unroll",
        broken=_more_than(0),
        reason="the generator's gradient would pass through discriminator steps on real photos, unclipped",
    ),
    Rule(
        option="gamma",
        broken=_more_than(0),
        reason="R1 takes a second gradient at real photos that the accountant knows nothing of; clipping bounds the "
        "discriminator as well. Leave --gamma out",
    ),
    Rule(
        option="warm_images",
        broken=_more_than(0),
        reason="the warm start shows photos and their principal components to the generator itself, and keeps their "
        "codes in the model. Leave --warm-images out",
    ),
    Rule(
        option="augment",
        broken=_other_than("auto", "off"),
        reason="its strength would be steered by the discriminator's judgement of real or held-out photos, a query "
        "nobody pays for. Private training goes without augmentation",
    ),
    Rule(
        option="precision",
        broken=_other_than("auto", "fp32"),
        reason="lengths of gradients are bounded in fp32 only. Leave --precision out",
    ),
    Rule(
        option="processes",
        broken=_more_than(1),
        reason="sampling and noise would be drawn in each process and the sum be noised several times or not at all. "
        "Train in one process",
    ),
    Rule(
        option="init",
        broken=_other_than("auto", "scratch"),
        reason="to begin with another model its random vectors become blends of the photos' own codes, and an earlier "
        "model may have learnt from the same photos without protection. Begin from scratch",
    ),
    Rule(
        option="micro_batch",
        broken=_used,
        reason="private training divides batches itself, between clipping and noise; parts that are noised or stepped "
        "by themselves would be charged wrongly. Leave --micro-batch out",
    ),
    Rule(
        option="holdout",
        broken=_used,
        reason="the gap between photos trained on and held out is a figure about the photos",
    ),
    Rule(
        option="balance",
        broken=_other_than("auto", "off"),
        reason="how often to draw a category would be read off the photos. Made pictures get all categories equally "
        "often, and every product is drawn with the same probability",
    ),
)

METRICS = Rule(
    option="metrics",
    broken=_used,
    reason="metrics compare with real photos, and choosing a snapshot by them is a query nobody pays for. Evaluate on "
    "photos that were not trained on and need no protection, or add --unsafe-metrics and keep the figures in the house",
)


def check_private(config: TrainConfig) -> None:
    """Refuse every option that would void the guarantee.

    Raises:
        ConfigError: with the option as it is typed and the reason; also privacy options without ``--dp-epsilon``.
    """
    if config.dp_epsilon is None:
        idle = [n for n in ("dp_delta", "dp_clip", "dp_noise", "unsafe_metrics") if getattr(config, n)]
        if idle:
            raise ConfigError(f"{_flag(idle[0])} does nothing without --dp-epsilon E, which switches privacy on.")
        return
    if config.minutes is not None and config.images_seen is None:
        raise ConfigError(
            "--dp-epsilon needs a length in pictures, because the noise is chosen for a number of steps: add "
            "--images-seen N (100 times the number of products is a beginning). --minutes may stay, and ends the run "
            "earlier if it comes to that."
        )
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    for rule in (*RULES, *(() if config.unsafe_metrics else (METRICS,))):
        if rule.option in values and _given(config, rule.option) and rule.broken(values[rule.option]):
            raise ConfigError(
                f"{_flag(rule.option)} {_typed(values[rule.option])}can't go with --dp-epsilon: {rule.reason}."
            )
    known = EXAMINED | {rule.option for rule in (*RULES, METRICS)}
    for name in sorted(values.keys() - known):
        if _given(config, name):
            raise ConfigError(
                f"{_flag(name)} can't go with --dp-epsilon: nobody has examined yet what it would reveal about the "
                "photos. Leave it out."
            )


def private_choices(config: TrainConfig, count: int) -> TrainConfig:
    """A checked configuration with what private training needs where nothing was asked for.

    ``count`` is the number of pictures. Large batches and many steps are what helps against the noise.
    """
    wanted = {
        "loss": "ns",
        "gamma": 0.0,
        "warm_images": 0,
        "batch_size": max(2, min(256, count // 16)),
        "lr": 5e-4,
    }
    # "auto" means the private choice here.
    fixed: dict[str, Any] = {"augment": "off", "precision": "fp32", "init": "scratch", "balance": "off"}
    return replace(config.filled(wanted), **fixed)


def _given(config: TrainConfig, name: str) -> bool:
    default = next(f.default for f in fields(config) if f.name == name)
    return bool(getattr(config, name) != default)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    return f"{' '.join(map(str, value)) if isinstance(value, tuple | list) else value} "
