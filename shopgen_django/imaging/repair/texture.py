"""Filling with texture: patches from around the hole vote for its pixels, from coarse to fine.

After Wexler, Shechtman and Irani 2007 (space-time completion): every patch that touches the hole looks for its nearest
one among the whole patches, and a pixel becomes the weighted mean of what the patches over it say. Nearest patches are
found among 16 principal components with a forest of k-d trees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .smooth import fill_smooth

FloatArray = NDArray[np.float32]
SIDE = 7
LEVELS, ROUNDS = 4, (6, 5, 4, 3)
"""Levels of size (each half of the one before) and rounds of voting from the coarsest on."""
COMPONENTS = 16
MOST_SOURCES = 16_000
_SMALLEST = 24
_SEED = 7


def fill_texture(
    picture: FloatArray, hole: NDArray[np.bool_], *, check: Callable[[], None] | None = None
) -> FloatArray:
    """``picture`` (``(h, w, c)``, 0..255) with the hole filled from what lies around it.

    Falls back to a smooth filling where there are not enough whole patches around.
    """
    import cv2

    pictures, holes = [picture], [hole]
    while len(pictures) < LEVELS and min(holes[-1].shape) >= 2 * _SMALLEST:
        height, width = holes[-1].shape
        size = (max(1, width // 2), max(1, height // 2))
        weight = (~holes[-1]).astype(np.float32)
        total = cv2.resize(pictures[-1] * weight[..., None], size, interpolation=cv2.INTER_AREA)
        share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        total = total.reshape(*share.shape, -1)
        pictures.append((total / np.maximum(share, 1e-3)[..., None]).astype(np.float32))
        holes.append(share < 0.5)
    made: FloatArray | None = None
    for depth in range(len(pictures) - 1, -1, -1):
        now, gap = pictures[depth], holes[depth]
        if not gap.any():
            made = now
            continue
        if gap.all():
            continue
        if made is None:
            made = fill_smooth(now, gap)
        else:
            size = (gap.shape[1], gap.shape[0])
            larger = cv2.resize(made, size, interpolation=cv2.INTER_CUBIC).reshape(now.shape)
            made = np.where(gap[..., None], larger, now).astype(np.float32)
        rounds = ROUNDS[len(ROUNDS) - 1 - depth] if depth < len(ROUNDS) else ROUNDS[0]
        made = _vote(made, gap, rounds, check)
    assert made is not None
    return np.clip(made, 0.0, 255.0)


def _vote(made: FloatArray, gap: NDArray[np.bool_], rounds: int, check: Callable[[], None] | None) -> FloatArray:
    """Rounds of search and vote at one level."""
    import cv2

    half = SIDE // 2
    near = cv2.dilate(gap.astype(np.uint8), np.ones((SIDE, SIDE), np.uint8)) > 0
    inner = np.zeros_like(gap)
    inner[half:-half or None, half:-half or None] = True
    sources = np.argwhere(inner & ~near)
    targets = np.argwhere(near & inner)
    if len(sources) < 4 * COMPONENTS or not len(targets):
        return fill_smooth(made, gap, made)
    if len(sources) > MOST_SOURCES:
        sources = sources[np.sort(np.random.default_rng(_SEED).permutation(len(sources))[:MOST_SOURCES])]
    windows = np.lib.stride_tricks.sliding_window_view
    patches = windows(made, (SIDE, SIDE), axis=(0, 1))  # a view: it follows what is written into ``made``
    of_sources = patches[sources[:, 0] - half, sources[:, 1] - half].reshape(len(sources), -1)
    mean = of_sources.mean(axis=0)
    _values, vectors = np.linalg.eigh(np.cov((of_sources - mean).T))
    basis = np.ascontiguousarray(vectors[:, ::-1][:, : min(COMPONENTS, vectors.shape[1])].astype(np.float32))
    index: Any = cv2.flann_Index(np.ascontiguousarray((of_sources - mean) @ basis), {"algorithm": 1, "trees": 4})  # type: ignore[attr-defined]
    # A patch with more of the hole in it knows less.
    sound = windows((~gap).astype(np.float32), (SIDE, SIDE), axis=(0, 1)).mean(axis=(2, 3))
    trust = 0.05 + sound[targets[:, 0] - half, targets[:, 1] - half]
    offsets = [(dy, dx) for dy in range(-half, half + 1) for dx in range(-half, half + 1)]
    original = made.copy()
    made = made.copy()
    patches = windows(made, (SIDE, SIDE), axis=(0, 1))
    for _round in range(rounds):
        if check is not None:
            check()
        mine = patches[targets[:, 0] - half, targets[:, 1] - half].reshape(len(targets), -1)
        found, distance = index.knnSearch(np.ascontiguousarray((mine - mean) @ basis), 1, params={"checks": 32})
        nearest = sources[found[:, 0]]
        spread = max(1e-6, float(np.percentile(distance[:, 0], 75)))
        weight = (trust * np.exp(-distance[:, 0] / (2.0 * spread))).astype(np.float32)
        total = np.zeros(made.shape, dtype=np.float32)
        share = np.zeros(gap.shape, dtype=np.float32)
        for dy, dx in offsets:
            at = (targets[:, 0] + dy, targets[:, 1] + dx)
            # One offset at a time no two patches write to the same pixel.
            total[at] += weight[:, None] * original[nearest[:, 0] + dy, nearest[:, 1] + dx]
            share[at] += weight
        voted = total / np.maximum(share, 1e-9)[..., None]
        np.copyto(made, np.where((gap & (share > 0))[..., None], voted, original if _round == 0 else made))
    return made
