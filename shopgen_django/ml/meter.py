"""Figures of the steps since the last tick, kept on the device until somebody reads them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .errors import Diverged
from .runtime import peak_memory

CHECK_EVERY_ON_GPU = 32


class Meter:
    """Sums figures, watches that they are finite, and keeps the time apart that isn't training."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # By the names of a step's figures: not every step has the same ones (several critic steps, a warm start).
        self._sums: dict[tuple[str, ...], tuple[Tensor, int]] = {}
        self._since = time.perf_counter()
        self._waited = 0.0
        self._kept_up = 0.0
        self.steps = 0
        self.notes: dict[str, float] = {}

    def add(self, figures: Mapping[str, Tensor], step: int) -> None:
        """Take in a step's figures.

        Raises:
            Diverged: one of them is not a finite number. (On a GPU that is noticed up to
                :data:`CHECK_EVERY_ON_GPU` steps late, since asking would stall it; snapshots check again.)
        """
        names = tuple(figures)
        values = torch.stack([figures[name].float().to(self._device) for name in names])
        before, count = self._sums.get(names, (None, 0))
        values = values if before is None else before + values
        self._sums[names] = (values, count + 1)
        self.steps += 1
        if self._device.type == "cpu" or self.steps % CHECK_EVERY_ON_GPU == 0:
            self._check(names, values, step)

    def _check(self, names: tuple[str, ...], values: Tensor, step: int) -> None:
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            bad = [name for name, good in zip(names, finite.tolist(), strict=True) if not good]
            raise Diverged(
                f"{', '.join(bad)} is no longer a finite number at step {step}. The last good state is kept. "
                "Try a smaller --lr or a larger --gamma, with --fresh."
            )

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent on getting a batch."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @contextlib.contextmanager
    def upkeep(self) -> Iterator[None]:
        """Time spent on snapshots."""
        began = time.perf_counter()
        yield
        self._kept_up += time.perf_counter() - began

    def note(self, name: str, value: float) -> None:
        """A figure that is not per step; repeated in every tick until the next one."""
        self.notes[name] = value

    def forget(self) -> None:
        """Drop the sums since the last tick: they are of steps that are undone."""
        self._sums, self.steps = {}, 0
        self._since, self._waited, self._kept_up = time.perf_counter(), 0.0, 0.0

    def flush(self, batch: int) -> dict[str, float]:
        """Averages since the last call, with ``images_per_second``, shares of waiting and upkeep, peak memory."""
        values: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, (total, count) in self._sums.items():
            for name, figure in zip(names, total.tolist(), strict=True):
                values[name] = values.get(name, 0.0) + figure
                counts[name] = counts.get(name, 0) + count
        values = {name: figure / counts[name] for name, figure in values.items()}
        now = time.perf_counter()
        span = max(1e-9, now - self._since)
        training = max(1e-9, span - self._kept_up)
        values |= {
            "images_per_second": self.steps * batch / training,
            "waiting": self._waited / span,
            "upkeep": self._kept_up / span,
            "peak_memory": float(peak_memory(self._device)),
            **self.notes,
        }
        self._sums, self.steps, self._since = {}, 0, now
        self._waited = self._kept_up = 0.0
        return values
