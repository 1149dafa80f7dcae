"""From the options as given to the options as run: every ``None`` gets its value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace

import torch

from .augment import STEERED, settle_augment
from .config import TrainConfig, check_config
from .data import Source
from .errors import ConfigError
from .families import get_family
from .families.base import DataFacts, Family
from .privacy.rules import check_private, private_choices
from .runtime import choose_device, choose_precision
from .transfer import settle

DEFAULT_IMAGES = {"cpu": 500_000, "mps": 500_000, "cuda": 5_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A configuration with all choices made, and what they were made from."""

    config: TrainConfig
    facts: DataFacts
    family: Family
    device: torch.device


def make_recipe(config: TrainConfig, source: Source, count: int | None = None) -> Recipe:
    """Settle everything that was left open. ``count`` is the number of usable pictures once it is known.

    Raises:
        ConfigError: options that don't go together.
    """
    check_config(config)
    check_private(config)
    family = get_family(config.architecture)
    if config.loss is not None and config.loss not in family.losses:
        raise ConfigError(
            f"--loss {config.loss} is not for --architecture {family.name}; it has: {', '.join(family.losses)}."
        )
    _refuse_strangers(config, family)
    if config.conditional and not source.categories:
        raise ConfigError("--conditional needs categories: first-level folders, a labels.csv, or labels in the .npz.")
    device = choose_device(config.device)
    conditional = len(source.categories) > 1 if config.conditional is None else config.conditional
    facts = DataFacts(
        count=len(source.entries) if count is None else count,
        size=source.size,
        channels=source.channels,
        categories=len(source.categories) if conditional else 0,
    )
    given = config
    if given.dp_epsilon is not None:
        config = private_choices(config, facts.count)
    config = replace(config, precision=choose_precision(config.precision, device), device=device.type)
    config = config.filled(
        {"size": source.size, "channels": source.channels, "conditional": conditional, "loss": family.losses[0]}
    )
    steered = family.name in STEERED and config.dp_epsilon is None
    if config.augment == "adaptive" and not steered:
        why = "differential privacy counts every look at a photo" if config.dp_epsilon is not None else family.name
        raise ConfigError(f"--augment adaptive does not go with this run ({why}); use --augment fixed.")
    wish = settle_augment(config.augment, count=len(source.entries), steered=steered)
    config = replace(config, augment=wish)
    config = settle(config, facts, Counter(e.category for e in source.entries if e.category is not None))
    config = config.filled(family.resolve(config, facts, device))
    if given.dp_epsilon is not None:
        config = replace(config, n_critic=given.n_critic)  # left open: private training adapts it as it goes
    if config.minutes is None and config.images_seen is None:
        config = replace(config, images_seen=DEFAULT_IMAGES[device.type])
    check_config(config)
    return Recipe(config=config, facts=facts, family=family, device=device)


def _refuse_strangers(config: TrainConfig, family: Family) -> None:
    """An option of another family would do nothing, and nobody would notice."""
    for f in fields(config):
        mine = f.metadata["families"]
        if mine and family.name not in mine and getattr(config, f.name) != f.default:
            flag = "--" + f.name.replace("_", "-")
            raise ConfigError(f"{flag} is an option of --architecture {' and '.join(mine)}, not of {family.name}.")
