"""Radial power spectra: how much of each fineness is in pictures, and what a generator leaves out or puts in.

Upsampling leaves marks that the eye hardly sees and a spectrum shows: too little at the finest scale where a generator
is soft, a peak at its end where it draws a checkerboard (Durall et al. 2020, "Watch your Up-Convolution", and Odena
et al. 2016).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FINE = 0.3
"""Cycles a pixel from which on detail counts as fine; 0.5 is the finest that there is."""
MOST = 500
_GREY = np.array([0.299, 0.587, 0.114])


def radial_power(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean power at each distance from the middle of the spectrum.

    Args:
        pictures: ``(n, c, s, s)``, of which at most :data:`MOST`, evenly chosen, are looked at.

    Returns:
        ``(s // 2,)``: index ``k`` stands for ``k`` to ``k + 1`` waves a picture, up to 0.5 cycles a pixel. Values are
        0..1 before the transform; a Hann window keeps the frame's edges out.
    """
    some = pictures[np.unique(np.linspace(0, len(pictures) - 1, min(MOST, len(pictures))).round().astype(int))]
    colours = some[:, :3].astype(np.float64) / 255.0
    grey = np.einsum("nchw,c->nhw", colours, _GREY) if colours.shape[1] == 3 else colours[:, 0]
    side = grey.shape[-1]
    window = np.outer(np.hanning(side), np.hanning(side))
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0) / window.sum()
    frequency = np.fft.fftfreq(side)
    ring = (np.hypot(frequency[:, None], frequency[None]) * side).astype(int)
    bins = side // 2
    total = np.bincount(ring.ravel(), weights=power.ravel(), minlength=bins)[:bins]
    return np.asarray(total / np.maximum(1, np.bincount(ring.ravel(), minlength=bins)[:bins]))


def fine_detail(power: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Power of fine detail (:data:`FINE` cycles a pixel and up) as a multiple of real pictures'; 1 is right."""
    start = int(np.ceil(FINE * 2 * len(real)))
    return float(power[start:].sum() / max(1e-12, real[start:].sum()))
