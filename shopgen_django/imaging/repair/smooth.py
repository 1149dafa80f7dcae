"""Smooth filling: the surface with the least bending over a hole (biharmonic, after Damelin and Hoang 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
_LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=np.float64)
_ROUNDS = 400
_ENOUGH = 0.05
"""Remaining slope of the energy, relative to the first one, at which nobody sees a difference any more."""


def fill_smooth(picture: FloatArray, hole: NDArray[np.bool_], start: FloatArray | None = None) -> FloatArray:
    """Values in ``hole`` that make the sum of squared Laplacians small; all else is kept.

    Solved by conjugate gradients on the hole's pixels alone, the operator being two convolutions, so that no matrix is
    ever built.

    Args:
        picture: ``(h, w, c)``, 0..255.
        hole: ``(h, w)``; at least one pixel must be outside.
        start: where to begin, ``(h, w, c)``; default: Navier-Stokes diffusion.
    """
    import cv2

    known = picture.astype(np.float64)
    inside = hole[..., None].astype(np.float64)
    begin = picture if start is None else start
    if start is None:
        eight = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        begin = cv2.inpaint(eight, hole.astype(np.uint8), 3, cv2.INPAINT_NS).reshape(picture.shape).astype(np.float32)

    def bend(values: NDArray[np.float64]) -> NDArray[np.float64]:
        once = cv2.filter2D(values, cv2.CV_64F, _LAPLACE, borderType=cv2.BORDER_REPLICATE)
        both = cv2.filter2D(once, cv2.CV_64F, _LAPLACE, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(both, dtype=np.float64).reshape(values.shape)

    values = np.where(hole[..., None], begin, known)
    rest = -inside * bend(values)
    step, size = rest.copy(), float(np.square(rest).sum())
    first = size
    for _round in range(_ROUNDS):
        if size <= _ENOUGH**2 * 1e-4 * first or size < 1e-6:
            break
        bent = inside * bend(step)
        along = float((step * bent).sum())
        if along <= 0.0:
            break
        pace = size / along
        values += pace * step
        rest -= pace * bent
        before, size = size, float(np.square(rest).sum())
        step = rest + (size / before) * step
    return np.where(hole[..., None], np.clip(values, 0.0, 255.0), known).astype(np.float32)
