"""The options of a fine-tuning, every choice explained and checked. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from shopgen_django.ml.errors import ConfigError

KIND = "lora"
"""What ``config.json`` and ``model.json`` of such a run call themselves."""
PLACEHOLDERS = frozenset({"trigger", "title", "category"})
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,49}")
_MAY_CHANGE = frozenset({
    "base", "photos", "output", "name", "steps", "device", "threads", "checkpointing", "samples", "sample_prompts",
    "sample_steps", "sample_every", "measure_every", "guidance", "tick_seconds", "snapshot_seconds",
})  # fmt: skip
"""Options that a run may go on with changed: what they name is compared by its hash, or they touch no weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """What to learn, from what, and how. ``None`` is chosen when the run begins (:meth:`settled`)."""

    base: str
    """Folder of the base model."""
    photos: str
    """Folder of photos, see :mod:`.photos`."""
    output: str
    name: str
    trigger: str
    """The words that stand for what is learnt."""
    caption: str = ""
    """Template with {trigger}, {title}, {category}; "" chooses one."""
    rank: int = 16
    alpha: float | None = None
    """Strength is alpha / rank; ``None``: the rank, so 1."""
    steps: int = 1000
    """Steps of the optimiser; each sees ``batch`` x ``accumulate`` photos."""
    lr: float = 1e-4
    warmup: int = 20
    """Steps over which the rate rises to ``lr``, where it stays: a longer run goes on as it would have."""
    size: int | None = None
    """Side of the square that is trained on, in pixels; ``None``: what the base was trained for."""
    fit: str = "crop"
    batch: int = 1
    accumulate: int = 4
    seed: int = 0
    min_snr: float = 5.0
    """Gamma of Hang et al. 2023; 0 leaves the weighting out."""
    prior: float = 0.0
    """Weight of holding on to what the base says to captions without the trigger; 0 leaves it out."""
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    weight_decay: float = 0.01
    checkpointing: bool = False
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    hold_out: int | None = None
    """Photos that are never trained on; ``None``: a tenth, one at least."""
    samples: int = 4
    """Pictures of a sheet's row; 0: no sheets."""
    sample_prompts: tuple[str, ...] = ()
    sample_steps: int = 20
    sample_every: int = 0
    """Steps between sheets; 0: a fifth of the run."""
    measure_every: int = 0
    """Steps between measurements on held-out photos; 0: a twentieth of the run."""
    guidance: float = 7.0
    tick_seconds: float = 5.0
    snapshot_seconds: float = 60.0

    @property
    def images_seen(self) -> int:
        """Photos that the whole run looks at."""
        return self.steps * self.step_images

    @property
    def step_images(self) -> int:
        """Photos of one step."""
        return self.batch * self.accumulate

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the samples show."""
        return self.sample_prompts or (f"a photo of {self.trigger}", f"{self.trigger} on a wooden table, soft daylight")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``config.json`` and the run's row."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": KIND, **values, "sample_prompts": list(self.sample_prompts), "images_seen": self.images_seen}

    def identity(self) -> dict[str, Any]:
        """The options that a run can't go on with changed."""
        return {name: value for name, value in self.as_dict().items()
                if name not in _MAY_CHANGE and name != "images_seen"}  # fmt: skip

    def settled(self, **values: Any) -> LoraConfig:
        """With the choices made: ``size``, ``device``, ``precision``, ``caption``, ``hold_out`` …"""
        every = {
            "alpha": self.alpha or float(self.rank), "sample_every": self.sample_every or max(1, self.steps // 5),
            "measure_every": self.measure_every or max(1, self.steps // 20),
        }
        return replace(self, **{**every, **values})


def config_from(values: dict[str, Any]) -> LoraConfig:
    """The configuration that ``as_dict`` or a command's options describe; other names in ``values`` are left alone.

    Raises:
        ConfigError: an option that can't work.
    """
    known = {f.name for f in fields(LoraConfig)}
    given = {name: value for name, value in values.items() if name in known}
    given["sample_prompts"] = tuple(given.get("sample_prompts") or ())
    config = LoraConfig(**given)
    check_config(config)
    return config


def check_config(config: LoraConfig) -> None:
    """Raises ConfigError for an option, or a combination, that can't work."""
    if not _NAME.fullmatch(config.name):
        raise ConfigError(
            f"--name {config.name!r}: a LoRA's name has letters, digits, dots, hyphens and underscores, at most 50 and "
            "no spaces, since people write it with a weight: house-style: 0.8."
        )
    if not config.trigger.strip() or len(config.trigger) > 60 or set(config.trigger) & set("{}"):
        raise ConfigError("--trigger needs 1 to 60 characters without braces: the words that stand for what is learnt.")
    unknown = sorted(set(_PLACEHOLDER.findall(config.caption)) - PLACEHOLDERS)
    if unknown:
        raise ConfigError(
            f"--caption has unknown placeholders: {', '.join(unknown)}. Known are "
            f"{', '.join('{' + name + '}' for name in sorted(PLACEHOLDERS))}."
        )
    if config.prior and config.caption and "{trigger}" not in config.caption:
        raise ConfigError("--prior needs {trigger} in --caption: it compares each caption with the one without it.")
    low = {"rank": 1, "steps": 1, "batch": 1, "accumulate": 1, "seed": 0, "samples": 0, "sample_steps": 1,
           "warmup": 0, "min_snr": 0, "prior": 0, "weight_decay": 0, "sample_every": 0, "measure_every": 0}  # fmt: skip
    for name, least in low.items():
        if getattr(config, name) < least:
            raise ConfigError(f"{_flag(name)} must be at least {least}.")
    for name in ("lr", "clip"):
        if not getattr(config, name) > 0:
            raise ConfigError(f"{_flag(name)} must be above 0.")
    if config.alpha is not None and not config.alpha > 0:
        raise ConfigError("--alpha must be above 0.")
    for name, choices in (("fit", ("crop", "pad")), ("precision", ("auto", "fp32", "bf16")),
                          ("device", ("auto", "cpu", "cuda"))):  # fmt: skip
        if getattr(config, name) not in choices:
            raise ConfigError(f"{_flag(name)} is one of {', '.join(choices)}.")
    if config.hold_out is not None and config.hold_out < 1:
        raise ConfigError("--hold-out must be at least 1: without it nobody sees when a run learns photos by heart.")


def filled(template: str, *, trigger: str, title: str = "", category: str = "") -> str:
    """A caption: the words in place of the placeholders, in one pass; what is empty leaves no gap."""
    values = {"trigger": trigger, "title": title, "category": category}
    text = _PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group(0)), template)
    return re.sub(r"\s+([,.;])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
