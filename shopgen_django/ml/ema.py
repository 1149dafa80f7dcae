"""The averaged generator: what is shown, saved and served."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a module's parameters, its half-life counted in pictures.

    The half-life is ``min(half_life, ramp * seen)``: without the ramp a short run would still remember its noise.
    Buffers (batch-norm statistics) are copied, not averaged.
    """

    def __init__(self, module: nn.Module, half_life: float, ramp: float = 0.05) -> None:
        self.half_life = half_life
        self.ramp = ramp
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    def current_half_life(self, seen: int) -> float:
        """The half-life in pictures after ``seen`` pictures."""
        return min(self.half_life, self.ramp * seen) if self.ramp else self.half_life

    @torch.no_grad()
    def update(self, module: nn.Module, *, seen: int, batch: int) -> None:
        """Take in the state after a step on ``batch`` pictures, ``seen`` in all."""
        half_life = self.current_half_life(seen)
        keep = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        averaged: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in module.parameters()], 1.0 - keep)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
