"""Signs of noise that need no network: what the calmest places of a picture show, and steps along a JPEG's grid.

A learned estimate takes fine cloth for grain. But grain is everywhere, cloth is not: where a picture is calmest, a
clean one shows next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .plain_denoise import estimate_sigma

__all__ = ["block_steps", "calmest", "is_noisy", "level_of"]

LEAST_GRAIN = 3.5
"""Standard deviation (0..255) in the calmest places from which on there is grain."""
LEAST_STEPS = 1.75
"""Grey levels of :func:`block_steps` from which on JPEG blocks are worth taking out: quality 60 and less, mostly."""
_OF_WHITE, _OF_COLOURED = 1.06, 1.3
"""Times the calmest places' deviation: white noise, and a camera's, whose finest detail its JPEG has taken away."""
_PIECE, _SIDE = 256, 4
_BLOCK = 16
_CALM = 0.1
_FEW = 4
_UNCLIPPED = (4, 251)
_GRID = 8
_CALM_STEP = 6.0


def is_noisy(picture: Image.Image) -> bool:
    """Whether grain or JPEG blocks show, whatever an estimate of their level says."""
    return calmest(picture) >= LEAST_GRAIN or block_steps(picture) >= LEAST_STEPS


def level_of(picture: Image.Image, *, guessed: float, coloured: float) -> float:
    """Standard deviation of the noise that is worth taking out, 0..255; 0 when :func:`is_noisy` says no.

    ``guessed`` is what a network says, ``coloured`` (0..1) how sure it is of a camera or a JPEG. On studio ground,
    where clipping has taken the noise away, it guesses too little for the product: the calmest places that are not
    clipped have the last word then.
    """
    calm = calmest(picture)
    if calm >= LEAST_GRAIN:
        return max(guessed, calm * (_OF_COLOURED if coloured >= 0.5 else _OF_WHITE))
    return guessed if block_steps(picture) >= LEAST_STEPS else 0.0


def calmest(picture: Image.Image) -> float:
    """Standard deviation (0..255) of the finest diagonal detail in the calmest tenth of the picture.

    Taken from the Haar coefficients of squares of 32 px that are hardly clipped, in up to 16 pieces of 256 px; of
    the whole picture's median when there are hardly any.
    """
    found: list[NDArray[np.float32]] = []
    for piece in _pieces(picture, "L" if picture.mode == "L" else "RGB"):
        planes = np.atleast_3d(piece)[: piece.shape[0] // 2 * 2, : piece.shape[1] // 2 * 2]
        quarter = planes[::2, ::2]
        diagonal = (quarter - planes[1::2, ::2] - planes[::2, 1::2] + planes[1::2, 1::2]) / 2.0
        inside = (quarter > _UNCLIPPED[0]) & (quarter < _UNCLIPPED[1])
        rows, columns = (length // _BLOCK for length in diagonal.shape[:2])
        if not rows or not columns:
            continue
        energy, share = (_squares(values, rows, columns) for values in (np.square(diagonal), inside.astype(np.float32)))
        found.append(np.sqrt(energy[share > 0.8]))
    every = np.concatenate(found) if found else np.empty(0, dtype=np.float32)
    return float(np.quantile(every, _CALM)) if len(every) >= _FEW else estimate_sigma(picture)


def block_steps(picture: Image.Image) -> float:
    """By how many grey levels neighbours differ more along lines of an 8 px grid than elsewhere, in calm places.

    White ground is not looked at, since blocks of pure white show no steps.
    The grid's place is searched; both directions must show it. A picture that was enlarged after its JPEG has another
    grid, which is not found.
    """
    sums, counts = np.zeros((2, _GRID)), np.zeros((2, _GRID))
    for piece in _pieces(picture, "L"):
        for axis, lines in enumerate((piece, piece.T)):
            steps = np.abs(np.diff(lines, axis=1))
            if steps.shape[1] < 2 * _GRID:
                continue
            around = steps[:, :-2] + steps[:, 2:]
            light = lines[:, 1:-2]
            more, calm = steps[:, 1:-1] - 0.5 * around, (around < _CALM_STEP) & (light < _UNCLIPPED[1])
            for place in range(_GRID):
                here = calm[:, place::_GRID]
                sums[axis, place] += float(more[:, place::_GRID][here].sum())
                counts[axis, place] += float(here.sum())
    if counts.min() < 50:
        return 0.0
    means = sums / counts
    return float(np.min(means.max(axis=1) - np.median(means, axis=1)))


def _pieces(picture: Image.Image, mode: str) -> Iterator[NDArray[np.float32]]:
    """Up to 16 pieces, evenly spread, their corners on a grid of 8 px so that all see one JPEG grid alike."""

    def starts(length: int) -> list[int]:
        room = max(0, length - _PIECE)
        return sorted({room * index // (_SIDE - 1) // _GRID * _GRID for index in range(_SIDE)})

    for top in starts(picture.height):
        for left in starts(picture.width):
            box = left, top, min(picture.width, left + _PIECE), min(picture.height, top + _PIECE)
            yield np.asarray(picture.crop(box).convert(mode), dtype=np.float32)


def _squares(values: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Means of squares of :data:`_BLOCK`, ``(rows, columns, channels)``."""
    cut = values[: rows * _BLOCK, : columns * _BLOCK]
    means = cut.reshape(rows, _BLOCK, columns, _BLOCK, -1).mean(axis=(1, 3))
    return np.asarray(means, dtype=np.float32)
