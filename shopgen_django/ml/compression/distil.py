"""Distillation: a smaller generator learns to make the pictures that its teacher makes from the same random vectors.

Needs the teacher alone, no photos and no discriminator. What is minimised is the mean absolute difference of the
pictures and of the bands of their Laplacian pyramids (Burt and Adelson 1983; as a loss for generators: Bojanowski et
al. 2018), so that edges count as much as surfaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from shopgen_django.ml.errors import Diverged

from .runtime import psnr
from .teacher import Model, draw_material, pictures_of

SMALLEST_BAND = 8
"""Side in pixels of the coarsest band."""
CHECKED = 64
"""Held-out random vectors on which the student is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilSettings:
    """How long and how fast."""

    minutes: float | None
    images: int | None
    batch_size: int
    lr: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """What came of it; ``psnr`` in dB against the teacher on held-out vectors, before and after."""

    images: int
    seconds: float
    psnr_before: float
    psnr: float


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of pixels and of all bands of the Laplacian pyramids down to eight pixels."""
    rest = made - wanted
    loss = rest.abs().mean()
    while min(rest.shape[2:]) >= 2 * SMALLEST_BAND and rest.shape[2] % 2 == 0 and rest.shape[3] % 2 == 0:
        coarse = avg_pool2d(rest, 2)
        band = rest - interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        loss = loss + band.abs().mean()
        rest = coarse
    return loss + rest.abs().mean()


def distil(
    teacher: Model,
    student: Model,
    settings: DistilSettings,
    *,
    on_progress: Callable[[float, int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Distilled:
    """Train ``student.network`` in place. The learning rate falls to zero along a cosine over the length.

    Args:
        teacher: makes the pictures; not changed.
        student: the network that learns; in inference mode again afterwards.
        settings: length (the sooner of the two limits) and speed.
        on_progress: called a few times a second with (share, pictures, seconds).
        should_stop: asked before every step; what was learned so far is kept.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    held_out = draw_material(teacher, seed=settings.seed, purpose="check", start=0, count=CHECKED)
    wanted = pictures_of(teacher.network, *held_out)
    network = student.network
    before = psnr(pictures_of(network, *held_out).numpy(), wanted.numpy())
    # Batch norm stays as the teacher has it (inference mode): its statistics are right from the start.
    parameters = [p.requires_grad_(True) for p in network.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=settings.lr, betas=(0.9, 0.99))
    schedule = _Schedule(settings, optimiser)
    images, next_word = 0, 0.0
    while (share := schedule.share(images)) < 1.0:
        if should_stop is not None and should_stop():
            break
        latents, labels = draw_material(
            teacher, seed=settings.seed, purpose="distil", start=images, count=settings.batch_size
        )
        target = pictures_of(teacher.network, latents, labels, chunk=settings.batch_size)
        loss = picture_loss(network(latents, labels), target)
        if not torch.isfinite(loss):
            raise Diverged(f"The student's loss is not a finite number after {images} pictures. Try a smaller --lr.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        images += settings.batch_size
        if on_progress is not None and schedule.seconds >= next_word:
            next_word = schedule.seconds + 0.2
            on_progress(share, images, schedule.seconds)
    for parameter in parameters:
        parameter.requires_grad_(False)
    after = psnr(pictures_of(network, *held_out).numpy(), wanted.numpy())
    return Distilled(images=images, seconds=schedule.seconds, psnr_before=before, psnr=after)


class _Schedule:
    """How far along the training is, and the learning rate that belongs there."""

    def __init__(self, settings: DistilSettings, optimiser: torch.optim.Optimizer) -> None:
        self._settings = settings
        self._optimiser = optimiser
        self._began = time.perf_counter()
        self.seconds = 0.0

    def share(self, images: int) -> float:
        """0..1; sets the learning rate."""
        self.seconds = time.perf_counter() - self._began
        shares = [0.0]
        if self._settings.images is not None:
            shares.append(images / self._settings.images)
        if self._settings.minutes is not None:
            shares.append(self.seconds / (60.0 * self._settings.minutes))
        share = min(1.0, max(shares))
        cosine = 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * share))))
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.lr * max(0.02, cosine)
        return share
