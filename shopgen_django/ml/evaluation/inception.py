"""Inception v3 (Szegedy et al. 2016) up to its 2,048 pooled features, for weights that a user brings.

Names of layers are torchvision's, so its weights and those of the FID network that was carried over from TensorFlow
(``pt_inception``) fit, saved as safetensors. Two variants that differ in what average pooling counts at the border and
in one pooling branch: ``torchvision``, and ``fid``, which published FIDs use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shopgen_django.ml.errors import ModelFileError

VARIANTS = ("fid", "torchvision")
# Branches of the mixed blocks: name -> (output channels, kernel (h, w), stride, padding (h, w)).
Shape = tuple[int, tuple[int, int], int, tuple[int, int]]
Part = tuple[str, Shape]
Step = Part | tuple[Part, ...]


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before: int, shape: Shape) -> None:
        super().__init__()
        width, kernel, stride, padding = shape
        self.conv = nn.Conv2d(before, width, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(pictures)))


def _same(width: int, height: int, across: int) -> Shape:
    return width, (height, across), 1, (height // 2, across // 2)


def _half(width: int) -> Shape:
    return width, (3, 3), 2, (0, 0)


def _parts(step: Step) -> tuple[Part, ...]:
    return (cast(Part, step),) if isinstance(step[0], str) else cast(tuple[Part, ...], step)


class _Mixed(nn.Module):
    """Branches side by side; within a branch one convolution after the other, a tuple of names side by side again."""

    def __init__(self, before: int, branches: Sequence[Sequence[Step]], pool: str) -> None:
        super().__init__()
        self._branches: list[list[tuple[str, ...]]] = []
        self._pool = pool
        for branch in branches:
            width, names = before, []
            for step in branch:
                parts = _parts(step)
                for name, shape in parts:
                    self.add_module(name, _Conv(width, shape))
                names.append(tuple(name for name, _shape in parts))
                width = parts[0][1][0] * len(parts)
            self._branches.append(names)

    def forward(self, pictures: Tensor) -> Tensor:
        found = []
        for names in self._branches:
            value = self._pooled(pictures) if names[0] == ("branch_pool",) else pictures
            for parts in names:
                made = [getattr(self, name)(value) for name in parts]
                value = torch.cat(made, 1) if len(made) > 1 else made[0]
            found.append(value)
        if self._pool == "reduce":
            found.append(functional.max_pool2d(pictures, 3, 2))
        return torch.cat(found, 1)

    def _pooled(self, pictures: Tensor) -> Tensor:
        if self._pool == "max":
            return functional.max_pool2d(pictures, 3, 1, 1)
        return functional.avg_pool2d(pictures, 3, 1, 1, count_include_pad=self._pool == "average_all")


def _a(before: int, pooled: int, pool: str) -> _Mixed:
    return _Mixed(
        before,
        [
            [("branch1x1", _same(64, 1, 1))],
            [("branch5x5_1", _same(48, 1, 1)), ("branch5x5_2", _same(64, 5, 5))],
            [("branch3x3dbl_1", _same(64, 1, 1)), ("branch3x3dbl_2", _same(96, 3, 3)),
             ("branch3x3dbl_3", _same(96, 3, 3))],
            [("branch_pool", _same(pooled, 1, 1))],
        ],
        pool,
    )  # fmt: skip


def _b(before: int) -> _Mixed:
    return _Mixed(
        before,
        [
            [("branch3x3", _half(384))],
            [("branch3x3dbl_1", _same(64, 1, 1)), ("branch3x3dbl_2", _same(96, 3, 3)), ("branch3x3dbl_3", _half(96))],
        ],
        "reduce",
    )


def _c(before: int, inner: int, pool: str) -> _Mixed:
    return _Mixed(
        before,
        [
            [("branch1x1", _same(192, 1, 1))],
            [("branch7x7_1", _same(inner, 1, 1)), ("branch7x7_2", _same(inner, 1, 7)),
             ("branch7x7_3", _same(192, 7, 1))],
            [("branch7x7dbl_1", _same(inner, 1, 1)), ("branch7x7dbl_2", _same(inner, 7, 1)),
             ("branch7x7dbl_3", _same(inner, 1, 7)), ("branch7x7dbl_4", _same(inner, 7, 1)),
             ("branch7x7dbl_5", _same(192, 1, 7))],
            [("branch_pool", _same(192, 1, 1))],
        ],
        pool,
    )  # fmt: skip


def _d(before: int) -> _Mixed:
    return _Mixed(
        before,
        [
            [("branch3x3_1", _same(192, 1, 1)), ("branch3x3_2", _half(320))],
            [("branch7x7x3_1", _same(192, 1, 1)), ("branch7x7x3_2", _same(192, 1, 7)),
             ("branch7x7x3_3", _same(192, 7, 1)), ("branch7x7x3_4", _half(192))],
        ],
        "reduce",
    )  # fmt: skip


def _e(before: int, pool: str) -> _Mixed:
    return _Mixed(
        before,
        [
            [("branch1x1", _same(320, 1, 1))],
            [("branch3x3_1", _same(384, 1, 1)),
             (("branch3x3_2a", _same(384, 1, 3)), ("branch3x3_2b", _same(384, 3, 1)))],
            [("branch3x3dbl_1", _same(448, 1, 1)), ("branch3x3dbl_2", _same(384, 3, 3)),
             (("branch3x3dbl_3a", _same(384, 1, 3)), ("branch3x3dbl_3b", _same(384, 3, 1)))],
            [("branch_pool", _same(192, 1, 1))],
        ],
        pool,
    )  # fmt: skip


class InceptionV3(nn.Module):
    """``(n, 3, 299, 299)`` -> ``(n, 2048)``; other sides from 75 work as well."""

    def __init__(self, *, variant: str = "fid") -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ModelFileError(f"There is no variant {variant!r} of Inception v3; use {' or '.join(VARIANTS)}.")
        pool = "average_inside" if variant == "fid" else "average_all"
        self.Conv2d_1a_3x3 = _Conv(3, _half(32))
        self.Conv2d_2a_3x3 = _Conv(32, (32, (3, 3), 1, (0, 0)))
        self.Conv2d_2b_3x3 = _Conv(32, _same(64, 3, 3))
        self.Conv2d_3b_1x1 = _Conv(64, _same(80, 1, 1))
        self.Conv2d_4a_3x3 = _Conv(80, (192, (3, 3), 1, (0, 0)))
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32, pool), _a(256, 64, pool), _a(288, 64, pool)
        self.Mixed_6a = _b(288)
        self.Mixed_6b, self.Mixed_6c = _c(768, 128, pool), _c(768, 160, pool)
        self.Mixed_6d, self.Mixed_6e = _c(768, 160, pool), _c(768, 192, pool)
        self.Mixed_7a = _d(768)
        self.Mixed_7b, self.Mixed_7c = _e(1280, pool), _e(2048, "max" if variant == "fid" else pool)

    def forward(self, pictures: Tensor) -> Tensor:
        """The features before the classifier, averaged over the places."""
        value = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures)))
        value = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(value, 3, 2)))
        value = functional.max_pool2d(value, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                value = block(value)
        return value.mean((2, 3))
