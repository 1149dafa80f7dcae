"""Differentiable augmentation (Zhao et al. 2020): the same kinds of change on real and made pictures, in both steps.

The discriminator never sees an unchanged photo, so it can't learn a small set by heart; because the changes are
differentiable the generator still gets its gradient, and because both sides are changed alike they don't leak into
what it makes. Pictures are ``(n, c, h, w)`` in -1..1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .seeding import Rng, uniform, whole

SMALL_SET = 2_000
LARGE_SET = 100_000
HELD_OUT_MIN, HELD_OUT_SHARE = 32, 0.05
STEERED = ("modern", "dcgan")
"""Families whose discriminator is asked; with few photos it learns them by heart."""
ENOUGH = 10 * HELD_OUT_MIN
"""From so many photos on, those held out are at most a tenth."""


class Augment:
    """Applies the named changes, each to a share ``probability`` of the pictures.

    ``probability`` 0 returns the very same tensor.
    """

    def __init__(self, names: tuple[str, ...], probability: float = 1.0) -> None:
        self.names = names
        self.probability = probability
        self._changes = [_CHANGES[name] for name in names]

    def __call__(self, pictures: Tensor, rng: Rng) -> Tensor:
        if self.probability <= 0.0:
            return pictures
        for change in self._changes:
            pictures = change(pictures, self.probability, rng)
        return pictures


def choose(wish: str, count: int, channels: int) -> Augment:
    """The changes for ``--augment`` ``wish`` (``fixed``, ``adaptive`` or ``off``) and a set of ``count`` pictures."""
    names, probability = ((), 0.0) if wish == "off" else policy(count, channels)
    if wish == "adaptive" and names:
        names = policy(1, channels)[0]  # all of them: their strength takes care of the rest
    return Augment(names, probability)


def settle_augment(wish: str, *, count: int, steered: bool) -> str:
    """What ``auto`` means: ``adaptive`` when some of ``count`` photos can be spared to steer by, else ``fixed``.

    ``steered`` says whether the family has a discriminator that can be asked, and nothing forbids to ask it.
    """
    if wish != "auto":
        return wish
    return "adaptive" if steered and ENOUGH <= count < LARGE_SET else "fixed"


def held_out_count(count: int) -> int:
    """How many of ``count`` photos are held out to steer by."""
    return max(HELD_OUT_MIN, round(HELD_OUT_SHARE * count))


def policy(count: int, channels: int) -> tuple[tuple[str, ...], float]:
    """Which changes, and how often, for a set of ``count`` pictures: all for small sets, none for very large ones."""
    if count >= LARGE_SET:
        return (), 0.0
    geometric = ("translate", "cutout")
    if count >= SMALL_SET:
        return geometric, 0.3
    return (("colour", *geometric) if channels >= 3 else ("brightness", *geometric)), 1.0


def _uniform(n: int, rng: Rng, like: Tensor) -> Tensor:
    return uniform(rng, n).to(like.device, non_blocking=True)


def _chosen(n: int, probability: float, rng: Rng, like: Tensor) -> Tensor:
    """``(n,)`` ones and zeros; drawn even at probability 1, so that the stream of numbers is the same."""
    return (_uniform(n, rng, like) < probability).float()


def brightness(pictures: Tensor, probability: float, rng: Rng) -> Tensor:
    """Add -0.5..0.5 to each picture."""
    n = pictures.shape[0]
    chosen = _chosen(n, probability, rng, pictures)
    shift = (_uniform(n, rng, pictures) - 0.5) * chosen
    return pictures + shift.view(n, 1, 1, 1).to(pictures.dtype)


def colour(pictures: Tensor, probability: float, rng: Rng) -> Tensor:
    """Brightness, then saturation x 0..2, then contrast x 0.5..1.5; a fourth channel (alpha) is left alone.

    All three are linear in the colours, so one 3 x 3 matrix and one offset a picture do for them.
    """
    n, c, height, width = pictures.shape
    shift = (_uniform(n, rng, pictures) - 0.5) * _chosen(n, probability, rng, pictures)
    saturation = 1.0 + (_uniform(n, rng, pictures) * 2.0 - 1.0) * _chosen(n, probability, rng, pictures)
    contrast = 1.0 + (_uniform(n, rng, pictures) - 0.5) * _chosen(n, probability, rng, pictures)
    identity = torch.eye(c, device=pictures.device)
    grey = torch.zeros(c, c, device=pictures.device)
    grey[:3, :3] = 1.0 / 3.0
    per_picture = saturation.view(n, 1, 1)
    matrix = contrast.view(n, 1, 1) * (per_picture * identity + (1.0 - per_picture) * grey)
    if c > 3:
        matrix = torch.cat([matrix[:, :3], identity[3:].expand(n, c - 3, c)], dim=1)
    mean = pictures[:, :3].mean(dim=(1, 2, 3), dtype=torch.promote_types(pictures.dtype, torch.float32))
    offset = torch.zeros(n, c, 1, device=pictures.device)
    # contrast * (x + shift - (mean + shift)) + mean + shift, the mean being that of the picture after the shift.
    offset = offset + (mean * (1.0 - contrast) + shift).view(n, 1, 1)
    if c > 3:
        offset = torch.cat([offset[:, :3], torch.zeros(n, c - 3, 1, device=pictures.device)], dim=1)
    flat = pictures.contiguous().view(n, c, height * width)
    return torch.baddbmm(offset.to(flat.dtype), matrix.to(flat.dtype), flat).view(n, c, height, width)


class _Shift(torch.autograd.Function):
    """Move each picture by whole pixels, zeros coming in. Its derivative is the move back, which can itself be
    differentiated; indexing or slicing would scatter into zeroed copies instead, several times slower."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, down: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(down, right)
        return _moved(pictures, down, right)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        down, right = ctx.saved_tensors
        return _Shift.apply(gradients[0], -down, -right), None, None


def _moved(pictures: Tensor, down: Tensor, right: Tensor) -> Tensor:
    n, _c, height, width = pictures.shape
    if pictures.device.type == "cpu":
        result = torch.zeros_like(pictures, memory_format=torch.contiguous_format)
        for index, (y, x) in enumerate(zip(down.tolist(), right.tolist(), strict=True)):
            result[index, :, max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)] = pictures[
                index, :, max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)
            ]
        return result
    reach = int(height)
    padded = torch.nn.functional.pad(pictures, (reach, reach, reach, reach))
    rows = torch.arange(height, device=pictures.device) + reach - down.view(n, 1)
    columns = torch.arange(width, device=pictures.device) + reach - right.view(n, 1)
    which = torch.arange(n, device=pictures.device).view(n, 1, 1)
    return padded.permute(0, 2, 3, 1)[which, rows.view(n, height, 1), columns.view(n, 1, width)].permute(0, 3, 1, 2)


def translate(pictures: Tensor, probability: float, rng: Rng) -> Tensor:
    """Move each picture by up to an eighth of its side; what comes in is zero."""
    n, _c, height, width = pictures.shape
    chosen = _chosen(n, probability, rng, pictures).long()
    down = _whole(n, max(1, round(height / 8)), rng, pictures) * chosen
    right = _whole(n, max(1, round(width / 8)), rng, pictures) * chosen
    moved: Tensor = _Shift.apply(pictures, down, right)
    return moved


def _whole(n: int, reach: int, rng: Rng, like: Tensor) -> Tensor:
    """``(n,)`` whole numbers in -reach..reach."""
    return whole(rng, -reach, reach + 1, n).to(like.device, non_blocking=True)


def cutout(pictures: Tensor, probability: float, rng: Rng) -> Tensor:
    """Set a square of half the side to zero, at a place that may reach over the edge."""
    n, _c, height, width = pictures.shape
    chosen = _chosen(n, probability, rng, pictures)
    top = (whole(rng, 0, height + 1, n) - height // 4).to(pictures.device)
    left = (whole(rng, 0, width + 1, n) - width // 4).to(pictures.device)
    rows = torch.arange(height, device=pictures.device)
    columns = torch.arange(width, device=pictures.device)
    in_rows = (rows >= top.view(n, 1) - height // 4) & (rows < top.view(n, 1) + height // 4)
    in_columns = (columns >= left.view(n, 1) - width // 4) & (columns < left.view(n, 1) + width // 4)
    hole = (in_rows.view(n, 1, height, 1) & in_columns.view(n, 1, 1, width)) & (chosen.view(n, 1, 1, 1) > 0)
    return pictures * (~hole).to(pictures.dtype)


_CHANGES: dict[str, Callable[[Tensor, float, Rng], Tensor]] = {
    "brightness": brightness,
    "colour": colour,
    "translate": translate,
    "cutout": cutout,
}
