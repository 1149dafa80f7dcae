"""How well the network knows photos that it was never shown, by the moment of the noise: the eye for overfitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shopgen_django.ml.seeding import generator, normal

from .learner import Learner
from .photos import Photos

if TYPE_CHECKING:
    from torch import Tensor

BUCKETS = 4
"""Quarters of the schedule, the first one with the least noise."""
DRAWS = 2
OVERFIT = 1.05
"""Held-out loss over its best that is called overfitting."""


class Measure:
    """Losses on held-out photos and on as many of those trained on, always with the same noise at the same moments.

    Plain squared errors, without the weighting of the training, so that runs with other weightings compare.
    """

    def __init__(self, learner: Learner, photos: Photos) -> None:
        self._learner = learner
        first, count = photos.trained_on, min(photos.held_out, photos.trained_on)
        self._held_out = list(range(first, first + photos.held_out))
        self._known = list(range(count))
        self.best = float("inf")
        self.best_step = 0
        self.base = 0.0
        """Loss of the base alone on the held-out photos."""
        self._told = False

    def take(self, step: int) -> dict[str, float]:
        """Measure after ``step`` steps."""
        by_bucket = self._losses(self._held_out)
        held_out, known = sum(by_bucket) / BUCKETS, sum(self._losses(self._known)) / BUCKETS
        if step == 0:
            self.base = held_out
        if held_out < self.best:
            self.best, self.best_step = held_out, step
        quarters = {f"loss_held_out_{number}": value for number, value in enumerate(by_bucket, start=1)}
        return {
            "loss_held_out": held_out, "loss_known": known, **quarters, "best_step": float(self.best_step),
            "loss_base": self.base,
        }

    def warning(self, figures: dict[str, float]) -> str:
        """A line for the log, once; "" while all is well."""
        if self._told or figures["loss_held_out"] < OVERFIT * self.best:
            return ""
        self._told = True
        return (
            f"Careful: it begins to learn the photos by heart. On photos held out it was best after {self.best_step} "
            f"steps ({self.best:.4f}, now {figures['loss_held_out']:.4f}): fewer --steps, a smaller --rank, or more "
            "photos."
        )

    def state(self) -> dict[str, Any]:
        """Plain values to go on with."""
        best = None if self.best == float("inf") else self.best
        return {"best": best, "best_step": self.best_step, "base": self.base, "told": self._told}

    def load_state(self, values: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.best = float("inf") if values["best"] is None else float(values["best"])
        self.best_step, self.base, self._told = int(values["best_step"]), float(values["base"]), bool(values["told"])

    def _losses(self, photos: list[int]) -> list[float]:
        import torch

        learner, steps = self._learner, self._learner.objective.steps
        sums = [0.0] * BUCKETS
        with torch.no_grad():
            for photo in photos:
                for bucket in range(BUCKETS):
                    noise, times = self._fixed(photo, bucket, steps)
                    latents = learner.material.mean[[photo] * DRAWS]
                    for part in range(0, DRAWS, learner.config.batch):
                        rows = slice(part, part + learner.config.batch)
                        errors = learner.errors(latents[rows], noise[rows], times[rows], [photo] * len(times[rows]))
                        sums[bucket] += float(errors.sum())
        return [total / (len(photos) * DRAWS) for total in sums]

    def _fixed(self, photo: int, bucket: int, steps: int) -> tuple[Tensor, Tensor]:
        """Noise and moments: spread evenly over the bucket, the same for every photo and every measurement."""
        import torch

        shape = self._learner.material.mean.shape[1:]
        noise = normal(generator(self._learner.config.seed, "measure", photo, bucket), DRAWS, *shape)
        places = [(bucket + (draw + 0.5) / DRAWS) / BUCKETS for draw in range(DRAWS)]
        return noise, torch.tensor([min(steps - 1, int(place * steps)) for place in places])
