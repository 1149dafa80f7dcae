"""What a run would do and cost, without training: for ``--dry-run``."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .config import TrainConfig
from .data import Pictures, Source, open_source
from .errors import OutOfMemory
from .families.base import Learner
from .feed import FeedLike, make_feed
from .networks import parameter_count
from .progress import clock
from .recipe import Recipe, make_recipe
from .run import make_learner
from .runtime import peak_memory, thread_count

STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The settled options and measurements of a few steps on random pictures.

    Attributes:
        config: all choices made.
        photos: files that look like pictures (they have not been decoded).
        parameters: trained values by network.
        flops_per_image: operations of a step's forward and backward passes, closed form, divided by the batch.
        images_per_second: measured now, with whatever else the machine is doing.
        memory_bytes: the largest use of this process or GPU during the measurement.
        seconds: for the whole length at that speed.
        images: pictures seen by the end.
        notes: what else a person should know before such a run.
    """

    config: TrainConfig
    photos: int
    skipped: int
    categories: tuple[str, ...]
    parameters: dict[str, int]
    flops_per_image: float
    images_per_second: float
    memory_bytes: int
    seconds: float
    images: int
    notes: tuple[str, ...] = ()


def estimate(config: TrainConfig) -> Estimate:
    """Settle the options, list the pictures, time :data:`STEPS` real steps on random ones. Writes nothing.

    Raises:
        MLError: whatever the run itself would refuse before it starts.
    """
    if not config.output:
        config = replace(config, output=str(Path(tempfile.gettempdir()) / "unused"))
    torch.set_num_threads(thread_count(config.threads))
    source = open_source(config)
    recipe = make_recipe(config, source)
    try:
        speed, parameters, flops = _measure(recipe, source.categories)
    except torch.OutOfMemoryError:
        raise OutOfMemory(
            f"The {recipe.device.type} has too little memory for batches of {recipe.config.batch_size}; "
            "try a smaller one."
        ) from None
    settled = recipe.config
    wished_seconds = 60.0 * settled.minutes if settled.minutes else float("inf")
    wished_images = settled.images_seen or float("inf")
    seconds = min(wished_seconds, wished_images / speed)
    return Estimate(
        config=settled,
        photos=len(source.entries),
        skipped=len(source.skipped),
        categories=source.categories,
        parameters=parameters,
        flops_per_image=flops,
        images_per_second=speed,
        memory_bytes=peak_memory(recipe.device),
        seconds=seconds,
        images=int(seconds * speed),
        notes=_notes(recipe, source, parameters),
    )


def _measure(recipe: Recipe, categories: tuple[str, ...]) -> tuple[float, dict[str, int], float]:
    config = replace(recipe.config, warm_images=0)  # the game itself, not the quicker warm start
    facts = recipe.facts
    count = max(facts.categories * 2, 16)
    if config.dp_epsilon is not None:
        count = max(count, 2 * (config.batch_size or 1))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, facts.channels, facts.size, facts.size), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % max(1, facts.categories)
    # Their names decide what a model that the run begins with already knows.
    names = categories if facts.categories else ()
    pictures = Pictures(images=images, labels=labels, categories=names, manifest={"digest": ""})
    learner, feed = _rehearse(replace(recipe, config=config, facts=replace(facts, count=count)), pictures)
    learner.step(feed.batch(0))
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        learner.step(feed.batch(step))
    if recipe.device.type == "cuda":
        torch.cuda.synchronize()
    speed = STEPS * (config.batch_size or 1) / (time.perf_counter() - began)
    parameters = {name: parameter_count(module) for name, module in learner.modules().items()}
    return speed, parameters, learner.flops_per_image()


def _rehearse(recipe: Recipe, pictures: Pictures) -> tuple[Learner, FeedLike]:
    if recipe.config.dp_epsilon is not None:
        from .privacy.session import rehearsal

        return rehearsal(recipe, pictures)
    feed = make_feed(pictures, recipe.config, recipe.facts, recipe.device)
    return make_learner(recipe, pictures), feed


def _notes(recipe: Recipe, source: Source, parameters: dict[str, int]) -> tuple[str, ...]:
    if recipe.config.dp_epsilon is None:
        return ()
    from .privacy.plan import make_plan, plain_words
    from .privacy.units import units_of_source

    return tuple(plain_words(make_plan(recipe.config, units_of_source(source)), parameters["discriminator"]))


def describe(found: Estimate) -> str:
    """The estimate in words, with the settled options as JSON."""
    sizes = ", ".join(f"{name} {count:,}" for name, count in found.parameters.items() if count)
    options: dict[str, Any] = {k: v for k, v in found.config.as_dict().items() if v not in (None, [], "")}
    return "\n".join(
        [
            json.dumps(options, indent=1, ensure_ascii=False),
            f"pictures     {found.photos} ({found.skipped} passed over so far), "
            f"categories: {', '.join(found.categories) or 'none'}",
            f"parameters   {sizes}",
            f"operations   {found.flops_per_image / 1e6:,.0f} MFLOP for a picture, "
            f"{found.flops_per_image * found.images / 1e12:,.1f} TFLOP in all",
            f"speed        {found.images_per_second:,.0f} pictures a second, measured now on {found.config.device}",
            f"memory       {found.memory_bytes / 2**20:,.0f} MiB at the peak of the measurement",
            f"time         {clock(found.seconds)} for {found.images:,} pictures",
            *found.notes,
            "Nothing was trained and nothing was written.",
        ]
    )
