"""A cut-out product on a new ground (colour, gradient, studio sweep, photo), with its old shadow or a new one.

Colours are mixed in linear light (IEC 61966-2-1), so that soft edges and shadows look as light makes them. Where the
alpha is 255 and the product is not resized, its bytes come through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .cutout.alpha import strips

__all__ = ["Ground", "Placing", "Shadow", "kept_shadow", "on_ground"]

Colour = tuple[int, int, int]
ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
WHITE: Colour = (255, 255, 255)

_FLAT_ON = 0.42
"""Height of the horizon of a sweep, as a share of the picture from below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What lies behind the product.

    ``colour`` fills it; ``gradient`` runs from ``colour`` at the top to ``second`` at the bottom; ``sweep`` is a
    studio's curved paper: ``colour`` lit from above, with a soft bend to the floor; ``photo`` is cropped to fill.
    """

    kind: Literal["colour", "gradient", "sweep", "photo"] = "colour"
    colour: Colour = WHITE
    second: Colour = (225, 225, 225)
    photo: Image.Image | None = None

    def __post_init__(self) -> None:
        if self.kind == "photo" and self.photo is None:
            raise ValueError("A ground of kind photo needs a photo.")
        for colour in (self.colour, self.second):
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                raise ValueError(f"A colour is three values of 0 to 255, not {colour!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """The shadow under the product.

    ``contact`` is dark and close to where the product stands, ``soft`` adds a wide one below it, ``keep`` takes the
    photo's own (see :func:`kept_shadow`). ``strength`` is 0..1: how much light the darkest place loses.
    """

    kind: Literal["none", "contact", "soft", "keep"] = "none"
    strength: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"The strength of a shadow is 0 to 1, not {self.strength}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where the product goes.

    Without ``size`` the picture keeps its size and the product its place. With one, the product is brought to fill the
    canvas (width, height) up to ``margin`` (share of the shorter side, 0..0.45) and stands in the middle, or with
    ``stand`` on the lower margin; it is enlarged at most ``max_upscale`` times.
    """

    size: tuple[int, int] | None = None
    margin: float = 0.08
    stand: bool = False
    max_upscale: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin <= 0.45:
            raise ValueError(f"The margin is 0 to 0.45, not {self.margin}.")
        if self.max_upscale < 1.0:
            raise ValueError(f"The largest enlargement is at least 1, not {self.max_upscale}.")
        if self.size is not None and not all(1 <= side <= 16_384 for side in self.size):
            raise ValueError(f"A canvas has 1 to 16384 pixels a side, not {self.size}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """What is laid on each other: product (RGBA) and the light that reaches the ground (float 0..1), of one size."""

    product: Image.Image
    light: FloatArray | None = field(default=None)


def on_ground(
    product: Image.Image,
    ground: Ground,
    *,
    shadow: Shadow | None = None,
    placing: Placing | None = None,
    photo: Image.Image | None = None,
    check: Callable[[], None] | None = None,
) -> Image.Image:
    """Lay ``product`` (RGBA cut-out) on ``ground``; RGB.

    ``photo`` is the picture that the cut-out came from, of its size; a kept shadow needs it. ``check`` is called
    between strips and may raise.

    Raises ``ValueError`` for a product that is clear everywhere, and for a kept shadow without its photo.
    """
    shadow, placing = shadow or Shadow(), placing or Placing()
    if product.mode != "RGBA":
        raise ValueError(f"A product to lay on a ground is RGBA, not {product.mode}.")
    if product.getchannel("A").getextrema()[1] == 0:
        raise ValueError("The cut-out is empty: nothing of the picture was taken for the product.")
    light: FloatArray | None = None
    if shadow.kind == "keep":
        if photo is None or photo.size != product.size:
            raise ValueError("A kept shadow needs the photo that the cut-out came from.")
        light = kept_shadow(photo, np.asarray(product.getchannel("A")), shadow.strength)
    layers = _placed(_Layers(product=product, light=light), placing)
    if shadow.kind in ("contact", "soft"):
        alpha = np.asarray(layers.product.getchannel("A"))
        layers = _Layers(product=layers.product, light=_made_shadow(alpha, shadow))
    return _mixed(layers, ground, check)


def kept_shadow(photo: Image.Image, alpha: ByteArray, strength: float = 1.0) -> FloatArray:
    """Light (h, w) float in 0..1 that reaches the ground in the photo: 1 unshaded, smaller in the product's shadow.

    The photo's ground is taken for one smooth surface: its brightness is fitted by a quadratic in x and y through the
    brighter half of the pixels outside the product; what is darker than that is shadow. Differences under 3 % are noise
    of the ground and stay out. ``strength`` 0..1 mixes between none and all of it.
    """
    import cv2

    side = 512 / max(photo.size)
    size = (max(8, round(photo.width * min(1.0, side))), max(8, round(photo.height * min(1.0, side))))
    luma = _to_linear(np.asarray(photo.convert("L").resize(size, Image.Resampling.BOX)))
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    # The product's own rim is mixed into the pixels beside it.
    outside = cv2.dilate((small > 12).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    if int(outside.sum()) < 64:
        return np.ones(alpha.shape, np.float32)
    surface = _surface(luma, outside)
    light = np.clip(luma / np.maximum(surface, 1e-3), 0.0, 1.0).astype(np.float32)
    light = np.clip((light - 0.0) / 0.97, 0.0, 1.0)
    # Under the product nobody sees the ground; the shadow around it is carried on inwards so that no light rim appears.
    filled = cv2.inpaint((light * 255).astype(np.uint8), (~outside).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    light = cv2.GaussianBlur(
        np.where(outside, light, filled.astype(np.float32) / 255.0).astype(np.float32), (0, 0), 1.5
    )
    light = 1.0 - strength * (1.0 - light)
    return np.asarray(cv2.resize(light, (alpha.shape[1], alpha.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _surface(luma: FloatArray, outside: NDArray[np.bool_]) -> FloatArray:
    """The unshaded ground's brightness: a quadratic through the brighter half of what is left of it, fitted thrice."""
    height, width = luma.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    use = outside
    fitted = luma
    for _ in range(3):
        weights, *_rest = np.linalg.lstsq(terms[use], luma[use], rcond=None)
        fitted = (terms @ weights).astype(np.float32)
        residue = luma - fitted
        middle = float(np.median(residue[use]))
        brighter = outside & (residue >= middle - 0.01)
        if int(brighter.sum()) < 64:
            break
        use = brighter
    return np.asarray(fitted, np.float32)


def _made_shadow(alpha: ByteArray, shadow: Shadow) -> FloatArray:
    """Light (h, w) float: a dark line where the product stands, and for ``soft`` a wide shade below it."""
    import cv2

    height, width = alpha.shape
    scale = min(1.0, 512 / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    rows = np.nonzero(small.max(axis=1) > 0.5)[0]
    tall = float(rows[-1] - rows[0] + 1) if len(rows) else float(size[1])
    blur = max(1.0, 0.02 * tall)
    # What stands on the ground is the lowest part of the product, column by column, near its foot.
    foot = np.zeros_like(small)
    if len(rows):
        band = max(1, round(0.06 * tall))
        foot[rows[-1] - band + 1 : rows[-1] + 1] = small[rows[-1] - band + 1 : rows[-1] + 1]
    contact = cv2.GaussianBlur(_moved(foot, 0.5 * blur), (0, 0), sigmaX=1.5 * blur, sigmaY=0.8 * blur)
    dark = contact / max(1e-3, float(contact.max()))
    if shadow.kind == "soft":
        wide = cv2.GaussianBlur(_moved(small, 0.05 * tall), (0, 0), 0.06 * tall)
        dark = np.maximum(dark, 0.6 * wide)
    light = 1.0 - shadow.strength * np.clip(dark, 0.0, 1.0)
    return np.asarray(cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC), np.float32).clip(0.0, 1.0)


def _moved(field_: FloatArray, down: float) -> FloatArray:
    import cv2

    move = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, down]], np.float32)
    return np.asarray(cv2.warpAffine(field_, move, (field_.shape[1], field_.shape[0])), np.float32)


def _placed(layers: _Layers, placing: Placing) -> _Layers:
    if placing.size is None:
        return layers
    product = layers.product
    # Haze of one or two levels, far from the product, must not decide its size.
    box = product.getchannel("A").point(lambda value: 255 if value > 5 else 0).getbbox() or (0, 0, *product.size)
    width, height = placing.size
    room = placing.margin * min(width, height)
    inner = max(1.0, width - 2 * room), max(1.0, height - 2 * room)
    scale = min(inner[0] / (box[2] - box[0]), inner[1] / (box[3] - box[1]), placing.max_upscale)
    size = max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale))
    left = (width - size[0]) // 2
    top = round(height - room - size[1]) if placing.stand else (height - size[1]) // 2
    part = product.crop(box)
    if size != part.size:  # premultiplied, so that colours of clear pixels do not come through
        part = part.convert("RGBa").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGBA")
    canvas = Image.new("RGBA", placing.size, (0, 0, 0, 0))
    canvas.paste(part, (left, top))
    return _Layers(product=canvas, light=_placed_light(layers.light, box, size, (left, top), placing.size))


def _placed_light(
    light: FloatArray | None,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    offset: tuple[int, int],
    canvas: tuple[int, int],
) -> FloatArray | None:
    """The kept shadow brought along: the whole frame is moved with the product, unshaded beyond it."""
    import cv2

    if light is None:
        return None
    scale_x, scale_y = size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1])
    move = np.array(
        [[scale_x, 0, offset[0] - box[0] * scale_x], [0, scale_y, offset[1] - box[1] * scale_y]], np.float32
    )
    # A shadow that the photo's frame cuts off must not end in a line.
    height, width = light.shape
    fade = np.minimum.outer(
        np.minimum(np.arange(height), np.arange(height)[::-1]), np.minimum(np.arange(width), np.arange(width)[::-1])
    ) / max(1.0, 0.04 * max(height, width))
    faded = 1.0 - (1.0 - light) * np.clip(fade, 0.0, 1.0).astype(np.float32)
    return np.asarray(cv2.warpAffine(faded, move, canvas, flags=cv2.INTER_AREA, borderValue=1.0), np.float32)


def _mixed(layers: _Layers, ground: Ground, check: Callable[[], None] | None) -> Image.Image:
    product = layers.product
    width = product.width
    result = Image.new("RGB", product.size)
    backdrop = _photo_ground(ground, product.size)
    for top, bottom in strips(product.size):
        if check is not None:
            check()
        part = np.asarray(product.crop((0, top, width, bottom)))
        alpha = part[..., 3:].astype(np.float32) / 255.0
        if backdrop is not None:
            behind = _to_linear(np.asarray(backdrop.crop((0, top, width, bottom))))
        else:
            behind = _plain_ground(ground, product.size, top, bottom)
        if layers.light is not None:
            behind = behind * layers.light[top:bottom, :, None]
        mixed = _to_bytes(_to_linear(part[..., :3]) * alpha + behind * (1.0 - alpha))
        mixed = np.where(part[..., 3:] == 255, part[..., :3], mixed)
        result.paste(Image.fromarray(mixed, "RGB"), (0, top))
    return result


def _photo_ground(ground: Ground, size: tuple[int, int]) -> Image.Image | None:
    if ground.kind != "photo" or ground.photo is None:
        return None
    return ImageOps.fit(ground.photo.convert("RGB"), size, Image.Resampling.LANCZOS)


def _plain_ground(ground: Ground, size: tuple[int, int], top: int, bottom: int) -> FloatArray:
    """Rows ``top .. bottom`` of the ground in linear light."""
    width, height = size
    first = _to_linear(np.array(ground.colour, np.uint8))
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5) / height
    if ground.kind == "gradient":
        # Mixed in sRGB, where equal steps look equal.
        ends = np.array(ground.colour, np.float32), np.array(ground.second, np.float32)
        mixed = ends[0] + (ends[1] - ends[0]) * rows[:, None]
        return np.broadcast_to(_linear_of(mixed)[:, None], (bottom - top, width, 3)).astype(np.float32)
    if ground.kind == "sweep":
        # The wall falls off upwards and to the sides, the floor is brighter towards the viewer; a smooth bend between.
        floor = 1.0 / (1.0 + np.exp(-(rows - (1.0 - _FLAT_ON)) / 0.06))
        light = 0.80 + 0.08 * rows + 0.12 * floor
        across = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
        light = light[:, None] * (1.0 - 0.25 * across[None] ** 2)
        return np.asarray(light[..., None] * first, np.float32)
    return np.broadcast_to(first, (bottom - top, width, 3)).astype(np.float32)


_LINEAR = np.where(
    np.arange(256) <= 10, np.arange(256) / 255.0 / 12.92, ((np.arange(256) / 255.0 + 0.055) / 1.055) ** 2.4
).astype(np.float32)


def _to_linear(values: ByteArray) -> FloatArray:
    """sRGB bytes -> linear light 0..1."""
    return np.asarray(_LINEAR[values], np.float32)


def _linear_of(values: NDArray[np.floating]) -> FloatArray:
    """sRGB values 0..255 with fractions -> linear light."""
    share = values / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _to_bytes(linear: FloatArray) -> ByteArray:
    """Linear light -> sRGB bytes, rounded."""
    clipped = np.clip(linear, 0.0, 1.0)
    encoded = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * np.power(clipped, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255.0), np.uint8)
