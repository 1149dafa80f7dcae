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
        self._names: tuple[str, ...] = ()
        self._sum: Tensor | None = None
        self._since = time.perf_counter()
        self._waited = 0.0
        self._kept_up = 0.0
        self._summed = 0
        self.steps = 0
        self.notes: dict[str, float] = {}

    def add(self, figures: Mapping[str, Tensor], step: int) -> None:
        """Take in a step's figures.

        Raises:
            Diverged: one of them is not a finite number. (On a GPU that is noticed up to
                :data:`CHECK_EVERY_ON_GPU` steps late, since asking would stall it; snapshots check again.)
        """
        names = tuple(figures)
        values = torch.stack([figures[name].float() for name in names])
        # Steps of another phase have other figures: their averages begin anew.
        same = self._sum is not None and names == self._names
        self._sum = self._sum + values if self._sum is not None and same else values
        self._summed = self._summed + 1 if same else 1
        self._names = names
        self.steps += 1
        if self._device.type != "cuda" or self.steps % CHECK_EVERY_ON_GPU == 0:
            self._check(self._sum, step)

    def _check(self, values: Tensor, step: int) -> None:
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            bad = [name for name, good in zip(self._names, finite.tolist(), strict=True) if not good]
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

    def flush(self, batch: int) -> dict[str, float]:
        """Averages since the last call, with ``images_per_second``, shares of waiting and upkeep, peak memory."""
        values: dict[str, float] = {}
        if self._sum is not None:
            values = dict(zip(self._names, (self._sum / self._summed).tolist(), strict=True))
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
        self._sum, self.steps, self._since = None, 0, now
        self._waited = self._kept_up = 0.0
        return values
