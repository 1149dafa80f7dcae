"""Colour as people see it: linear light, CIE Lab, and CIEDE2000 differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["delta_e", "from_linear", "lab", "to_linear"]

FloatArray = NDArray[np.float32]
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def to_linear(values: NDArray[np.uint8] | FloatArray) -> FloatArray:
    """sRGB 0..255 to linear light 0..1 (IEC 61966-2-1)."""
    if values.dtype == np.uint8:
        return _TABLE[values]
    share = np.asarray(values, dtype=np.float32) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((np.maximum(share, 0.04045) + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def from_linear(light: FloatArray) -> FloatArray:
    """Linear light to sRGB 0..255, clipped to 0..1 before; not rounded."""
    low = np.clip(light, 0.0, 1.0)
    share = np.where(low <= 0.0031308, low * 12.92, 1.055 * np.maximum(low, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.asarray(255.0 * share, dtype=np.float32)


def lab(values: NDArray[np.uint8] | FloatArray) -> FloatArray:
    """sRGB ``(..., 3)``, 0..255, to CIE L*a*b* (D65): L 0..100."""
    xyz = to_linear(values).astype(np.float64) @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > 216 / 24389, np.cbrt(np.maximum(xyz, 0.0)), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def delta_e(one: FloatArray, other: FloatArray) -> FloatArray:
    """CIEDE2000 of Lab colours ``(..., 3)`` (Sharma, Wu and Dalal 2005). 1 can just be seen, 2 is seen at once."""
    l1, a1, b1 = (one[..., i].astype(np.float64) for i in range(3))
    l2, a2, b2 = (other[..., i].astype(np.float64) for i in range(3))
    mean_c = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    grow = 0.5 * (1 - np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)))
    a1, a2 = a1 * (1 + grow), a2 * (1 + grow)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = (c1 * c2) == 0
    turn = np.where(grey, 0.0, (h2 - h1 + 180) % 360 - 180)
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    far = np.abs(h1 - h2) > 180
    mean_h = np.where(grey, h1 + h2, np.where(far, (h1 + h2 + np.where(h1 + h2 < 360, 360, -360)) / 2, (h1 + h2) / 2))
    t = (
        1 - 0.17 * np.cos(np.radians(mean_h - 30)) + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6)) - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotate = -np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2)))) * 2 * np.sqrt(
        mean_c**7 / (mean_c**7 + 25.0**7)
    )
    total = (d_l / s_l) ** 2 + (d_c / s_c) ** 2 + (d_h / s_h) ** 2 + rotate * (d_c / s_c) * (d_h / s_h)
    return np.sqrt(np.maximum(total, 0.0)).astype(np.float32)


_TABLE = to_linear(np.arange(256, dtype=np.float32))
