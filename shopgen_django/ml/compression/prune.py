"""Structured pruning: whole channels are ranked, cut out of every tensor that knows them, and gone.

The importance of a channel is how much the picture changes when it is switched off, to first order: with ``s`` a
factor on the channel, the expectation over random vectors ``v`` of ±1 of ``(d<G(z), v>/ds)**2`` is the squared length
of ``dG/ds``. (The Gauss-Newton form of optimal brain damage, LeCun et al. 1990, on the output itself; the probing with
random signs is Hutchinson's, 1990. No labels, no photos, no training loss are needed.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families.base import ChannelSlice, Generator

from .teacher import Cost, Model, draw_material, like, resized

PROBES = 16
PROBE_BATCH = 16
STEP = 4
"""Channels are removed four at a time: widths stay multiples of what processors work on at once."""
FEWEST = 4


def importance(model: Model, *, seed: int = 0) -> list[Tensor]:
    """For each level ``(channels,)`` squared change of the picture, summed over pixels, per channel switched off."""
    network, levels = model.network, model.network.levels()
    parameters = dict(network.named_parameters())
    makers = [[part for part in level if part.makes] for level in levels]
    wanted = [parameters[part.tensor] for level in makers for part in level]
    totals = [torch.zeros(width) for width in model.plan]
    network.eval()
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        for probe in range(PROBES):
            latents, labels = draw_material(
                model, seed=seed, purpose="prune", start=probe * PROBE_BATCH, count=PROBE_BATCH
            )
            pictures = network(latents, labels)
            signs = torch.randint(0, 2, pictures.shape, generator=torch.Generator().manual_seed(seed * 1000 + probe))
            slopes = iter(torch.autograd.grad((pictures * (2.0 * signs - 1.0)).sum(), wanted))
            for total, level in zip(totals, makers, strict=True):
                change = torch.zeros_like(total)
                for part in level:
                    change += _per_channel(parameters[part.tensor].detach() * next(slopes), part)
                total += change.square() / (PROBES * PROBE_BATCH)
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
    return totals


def _per_channel(values: Tensor, part: ChannelSlice) -> Tensor:
    return values.movedim(part.axis, 0).reshape(values.shape[part.axis] // part.block, -1).sum(dim=1)


def choose_plan(model: Model, ranks: Sequence[Tensor], *, ratio: float) -> tuple[int, ...]:
    """Widths that need at most ``ratio`` of the operations, cutting where it costs the picture least.

    Four channels at a time, from the level whose least important four lose the least per operation saved.

    Raises:
        ConfigError: even the narrowest network needs more.
    """
    plan, losses, cost = list(model.plan), [rank.sort().values for rank in ranks], Cost(model)
    now, allowed = cost.whole, ratio * cost.whole
    fewest = fewest_channels(model)
    while now > allowed:
        offers = []
        for level, width in enumerate(plan):
            left = width - STEP if width % STEP == 0 else width - width % STEP
            if left < fewest:
                continue
            removed = model.plan[level] - width
            lost = float(losses[level][removed : model.plan[level] - left].sum())
            cheaper = cost((*plan[:level], left, *plan[level + 1 :]))
            offers.append((lost / max(1.0, now - cheaper), level, left, cheaper))
        if not offers:
            raise ConfigError(_too_small(ratio, now / cost.whole))
        _price, level, left, now = min(offers)
        plan[level] = left
    return tuple(plan)


def scaled_plan(model: Model, *, ratio: float) -> tuple[int, ...]:
    """The widest plan with the teacher's proportions that needs at most ``ratio`` of the operations.

    Raises:
        ConfigError: even the narrowest network needs more.
    """
    cost, fewest = Cost(model), fewest_channels(model)
    for percent in range(100, 0, -1):
        plan = tuple(min(w, max(fewest, round(w * percent / 100 / STEP) * STEP)) for w in model.plan)
        if (needed := cost(plan) / cost.whole) <= ratio:
            return _filled(plan, model.plan, lambda wider: cost(wider) <= ratio * cost.whole)
    raise ConfigError(_too_small(ratio, needed))


def _filled(plan: tuple[int, ...], most: tuple[int, ...], fits: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Four channels more on each level where there is room left, from the finest: what rounding took away."""
    for level in reversed(range(len(plan))):
        wider = (*plan[:level], min(most[level], plan[level] + STEP), *plan[level + 1 :])
        plan = wider if fits(wider) else plan
    return plan


def fewest_channels(model: Model) -> int:
    """The narrowest level allowed. Not as many as the picture has: some networks tell their last layer by that."""
    return FEWEST if int(model.card["channels"]) != FEWEST else 2 * FEWEST


def _too_small(ratio: float, least: float) -> str:
    return f"--ratio {ratio:g} can't be reached: the narrowest network needs {least:.2f}. Ask for {least + 0.01:.2f}."


def cut(model: Model, plan: tuple[int, ...], ranks: Sequence[Tensor]) -> Model:
    """The model with only the most important ``plan[i]`` channels of each level; everything else is as before."""
    kept = [rank.argsort(descending=True)[:width].sort().values for rank, width in zip(ranks, plan, strict=True)]
    state = dict(model.network.state_dict())
    for level, channels in zip(model.network.levels(), kept, strict=True):
        for part in level:
            state[part.tensor] = _take(state[part.tensor], part, channels)
    smaller: Generator = resized(model, plan).eval()
    smaller.load_state_dict(state)
    return like(model, smaller.requires_grad_(False), plan)


def _take(values: Tensor, part: ChannelSlice, channels: Tensor) -> Tensor:
    rows = (channels[:, None] * part.block + torch.arange(part.block)).flatten()
    return values.index_select(part.axis, rows).clone()
