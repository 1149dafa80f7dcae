"""Corrections of light and colour: what the photo's own ground and brightest places say is wrong, and no more.

Gains are applied in linear light, where light adds up. Each finder says 1 (or nothing) when nothing is wrong, and then
the picture comes through to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour import delta_e, from_linear, lab, to_linear

__all__ = ["Change", "Light", "apply", "colour_change", "find_light", "of_series"]

FloatArray = NDArray[np.float32]
SIDE = 512
MOST_GAIN, LEAST_GAIN = 1.4, 0.7
_FRAME = 0.04
_EVEN = 22.0
"""Spread of the frame (0..255, interquartile) up to which it counts as one ground."""
_BRIGHT = 150.0
_COLOURED = 0.22
"""Saturation from which an even ground is a coloured one, which says nothing of the light."""
_POWER = 6.0
_SLIGHT = 0.01
"""Gains nearer to 1 than this are none."""
_MOST_EXPOSURE = 1.7
_WHITE_AT, _BLACK_AT = 0.88, 0.004
"""Linear light that the brightest and darkest places are brought to: sRGB 240 and 13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """What is multiplied and taken away, in linear light: ``(value - black) * gains * exposure``.

    Attributes:
        gains: of red, green and blue, 0.7..1.4, keeping the brightness of grey.
        exposure: 1..1.7, or below 1 for nothing that this module does by itself.
        black: 0..0.02.
        witness: what the colour was read off: ``frame`` (an even bright ground), ``shades`` (the statistics of the
            whole picture), ``""`` (nothing, or a coloured ground).
    """

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    black: float = 0.0
    witness: str = ""

    @property
    def changes(self) -> bool:
        """Whether applying it would change a picture."""
        far = max(abs(gain - 1.0) for gain in self.gains)
        return far > _SLIGHT or abs(self.exposure - 1.0) > _SLIGHT or self.black > 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """CIEDE2000 between before and after, where the product probably is: mean and the 95th percentile."""

    mean: float
    most: float


def find_light(picture: Image.Image, *, balance: bool, exposure: bool, coloured: bool = False) -> Light:
    """What the light of a photo needs.

    Args:
        balance: look for a colour cast: an even bright frame is taken for white or grey.
        exposure: look for a dark or flat picture.
        coloured: take a coloured ground for a grey one in wrong light, and where no even ground is to be seen go by
            shades of grey (Finlayson and Trezzi 2004, p = 6).
    """
    array = _small(picture)
    light = to_linear(array)
    gains, witness = (1.0, 1.0, 1.0), ""
    if balance:
        gains, witness = _gains(array, light, coloured)
        light = light * np.asarray(gains, dtype=np.float32)
    bright, black = (1.0, 0.0)
    if exposure:
        bright, black = _exposure(light)
    return Light(gains=gains, exposure=bright, black=black, witness=witness)


def of_series(lights: Sequence[Light]) -> Light:
    """One correction for several photos of one product in one light: the geometric mean, the gentlest black."""
    if len(lights) == 1:
        return lights[0]
    logs = np.log([[*each.gains, each.exposure] for each in lights])
    red, green, blue, bright = (float(value) for value in np.exp(np.median(logs, axis=0)))
    return Light(
        gains=(red, green, blue), exposure=bright, black=min(each.black for each in lights),
        witness="series" if any(each.witness for each in lights) else "",
    )


def apply(picture: Image.Image, light: Light) -> Image.Image:
    """The corrected picture (``L``, ``RGB``, ``RGBA``; transparency is kept), computed strip by strip."""
    from .cutout.alpha import strips

    if not light.changes:
        return picture.copy()
    base = picture.convert("RGB")
    array = np.array(base, dtype=np.uint8)
    factors = np.asarray(light.gains, dtype=np.float32) * light.exposure
    for top, bottom in strips(base.size):
        linear = (to_linear(array[top:bottom]) - light.black) / (1.0 - light.black) * factors
        array[top:bottom] = np.rint(from_linear(_rolled(linear)))
    result = Image.fromarray(array)
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A"))
        return result
    return result.convert(picture.mode)


def colour_change(before: Image.Image, after: Image.Image) -> Change:
    """How far the product's colours moved. The product is what differs from the frame; all of it when nothing does."""
    one, other = lab(_small(before)), lab(_small(after))
    ground = np.median(_frame(one), axis=0)
    product = np.sqrt(np.square(one - ground).sum(axis=-1)) > 12.0
    moved = delta_e(one, other)
    chosen = moved[product] if product.mean() > 0.02 else moved.ravel()
    return Change(mean=float(chosen.mean()), most=float(np.percentile(chosen, 95)))


def _small(picture: Image.Image) -> NDArray[np.uint8]:
    copy = picture.convert("RGBA") if picture.mode == "RGBA" else picture.convert("RGB")
    copy.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if copy.mode == "RGBA":
        white = Image.new("RGBA", copy.size, "white")
        copy = Image.alpha_composite(white, copy).convert("RGB")
    return np.asarray(copy, dtype=np.uint8)


def _frame(array: NDArray[np.uint8] | FloatArray) -> NDArray[np.uint8] | FloatArray:
    """The outermost 4 % of the pixels, ``(n, 3)``."""
    wide = max(1, round(_FRAME * min(array.shape[:2])))
    return np.concatenate([
        array[:wide].reshape(-1, 3), array[-wide:].reshape(-1, 3), array[:, :wide].reshape(-1, 3),
        array[:, -wide:].reshape(-1, 3),
    ])  # fmt: skip


def _gains(
    array: NDArray[np.uint8], light: FloatArray, coloured: bool
) -> tuple[tuple[float, float, float], str]:
    frame = _frame(array).astype(np.float32)
    low, middle, high = np.percentile(frame, [25, 50, 75], axis=0)
    even = float((high - low).max()) < _EVEN
    saturation = float((middle.max() - middle.min()) / max(1.0, middle.max()))
    if even and saturation > _COLOURED and not coloured:
        return (1.0, 1.0, 1.0), ""
    if even and float(middle.mean()) > _BRIGHT:
        found, witness = to_linear(middle[None])[0], "frame"
        if middle.min() > 252:  # white already, to the last bit
            return (1.0, 1.0, 1.0), "frame"
    elif not coloured:
        # A picture full of one colour looks like a cast; without a ground to go by the product's colour is safer.
        return (1.0, 1.0, 1.0), ""
    else:
        usable = light.reshape(-1, 3)[(array.reshape(-1, 3) < 250).all(axis=1)]
        if len(usable) < 100:
            return (1.0, 1.0, 1.0), ""
        found, witness = np.mean(usable.astype(np.float64) ** _POWER, axis=0) ** (1 / _POWER), "shades"
    found = np.maximum(found.astype(np.float64), 1e-4)
    gains = np.clip(float(found @ [0.2126, 0.7152, 0.0722]) / found, LEAST_GAIN, MOST_GAIN)
    if float(np.abs(gains - 1.0).max()) < 2 * _SLIGHT:
        return (1.0, 1.0, 1.0), witness
    return (float(gains[0]), float(gains[1]), float(gains[2])), witness


def _exposure(light: FloatArray) -> tuple[float, float]:
    """How much brighter the brightest places may be, and how much veil lies over the darkest."""
    brightest = light.max(axis=-1)
    high, top = np.percentile(brightest, [98.0, 99.9])
    low = float(np.percentile(light.min(axis=-1), 0.5))
    black = float(np.clip(low - _BLACK_AT, 0.0, 0.02)) if low > 2 * _BLACK_AT else 0.0
    if high >= 0.8 * _WHITE_AT:
        return 1.0, black
    wanted = _WHITE_AT / max(float(high), 1e-3)
    # Nothing that is not clipped now may be clipped then: a white product keeps its folds.
    return float(np.clip(min(wanted, 0.985 / max(float(top), 1e-3)), 1.0, _MOST_EXPOSURE)), black


def _rolled(light: FloatArray) -> FloatArray:
    """Values beyond white come down with their hue kept, instead of each channel being cut by itself."""
    highest = light.max(axis=-1, keepdims=True)
    return np.asarray(light / np.maximum(1.0, highest), dtype=np.float32)
