"""Bring a picture to an exact size: cropped, padded, or within a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

__all__ = ["Mode", "Placement", "edge_colour", "fit", "place", "resample"]

Mode = Literal["crop", "pad", "resize", "frame"]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_MAX_SIDE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where which part of a picture goes.

    ``box`` is the part that is used, in the source's pixels (left, top, right, bottom; may have fractions).
    ``size`` is what that part is resampled to, ``offset`` where it lies on the ``canvas``; all whole pixels.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]

    @property
    def scale(self) -> float:
        """Enlargement, over 1 when pixels are invented."""
        return max(self.size[0] / (self.box[2] - self.box[0]), self.size[1] / (self.box[3] - self.box[1]))


def fit(
    image: Image.Image,
    *,
    width: int,
    height: int,
    mode: Mode = "pad",
    background: Colour | Literal["auto"] | None = "auto",
    margin: float = 0.0,
    max_upscale: float = 2.0,
    focus: tuple[float, float] = (0.5, 0.5),
    subject: Box = WHOLE,
) -> Image.Image:
    """Bring ``image`` to ``width`` x ``height`` pixels without distorting it.

    * ``crop`` fills the whole area and cuts off what stands out; ``focus`` (x, y in 0..1) is the point that is kept.
    * ``pad`` shows the whole picture and fills the rest with ``background``.
    * ``resize`` makes the picture as large as fits in ``width`` x ``height``; the result may be smaller on one side.
    * ``frame`` brings ``subject`` (left, top, right, bottom in 0..1) into the middle, as large as ``margin`` allows,
      with what is around it in the picture; what lies beyond the picture is filled with ``background``.

    ``background`` is an sRGB colour, ``"auto"`` for the colour that most of the picture's edge has (see
    :func:`edge_colour`), or None to keep the padding and the picture's own transparency clear. ``margin`` (0..0.45) is
    the share of each side left free by ``pad`` and ``frame``; the others ignore it. ``max_upscale`` (at least 1) is how
    far a picture may be enlarged: ``pad`` and ``frame`` then leave a wider margin, ``resize`` a smaller result, and
    ``crop`` centres the enlarged cut-out on the background, so that all but ``resize`` always have the exact size.

    Returns RGB, or RGBA when ``background`` is None and something is clear, or when ``mode`` is ``resize`` and the
    picture has transparency. Raises ``ValueError`` for values outside these ranges and sizes outside 1..16384.
    """
    place_of = place(
        image.size, width=width, height=height, mode=mode, margin=margin, max_upscale=max_upscale, focus=focus,
        subject=subject,
    )
    source = _plain_mode(image)
    picture = resample(source, place_of.size, box=place_of.box)
    if mode == "resize":
        return picture
    if background is None:
        canvas = Image.new("RGBA", place_of.canvas, (0, 0, 0, 0))
        canvas.paste(picture, place_of.offset)
        solid = canvas.getchannel("A").getextrema() == (255, 255)
        return canvas.convert("RGB") if solid else canvas
    colour = edge_colour(source) if background == "auto" else _checked(background)
    ground = Image.new("RGB", place_of.canvas, colour)
    ground.paste(picture, place_of.offset, picture if picture.mode == "RGBA" else None)
    return ground


def place(
    size: tuple[int, int],
    *,
    width: int,
    height: int,
    mode: Mode,
    margin: float = 0.0,
    max_upscale: float = 2.0,
    focus: tuple[float, float] = (0.5, 0.5),
    subject: Box = WHOLE,
) -> Placement:
    """The geometry of :func:`fit` without pixels, for a source of ``size`` (width, height)."""
    _check(width, height, mode, margin, max_upscale, focus, subject)
    wide, high = size
    if mode == "frame":
        return _framed(size, (width, height), 1.0 - 2.0 * margin, max_upscale, subject)
    if mode == "crop":
        # The largest part of the source with the wanted shape, slid so that the focus lies in its middle if it can.
        cut_wide, cut_high = min(wide, high * width / height), min(high, wide * height / width)
        left = min(max(focus[0] * wide - cut_wide / 2, 0.0), wide - cut_wide)
        top = min(max(focus[1] * high - cut_high / 2, 0.0), high - cut_high)
        box = (left, top, left + cut_wide, top + cut_high)
        limit = max_upscale * cut_wide / width
        inner = (width, height) if limit >= 1 else _scaled(width, height, limit)
    else:
        room = 1.0 - 2.0 * margin if mode == "pad" else 1.0
        scale = min(width * room / wide, height * room / high, max_upscale)
        box = (0.0, 0.0, float(wide), float(high))
        inner = _scaled(wide, high, scale)
        inner = (min(inner[0], width), min(inner[1], height))
    canvas = inner if mode == "resize" else (width, height)
    offset = ((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2)
    return Placement(box=box, size=inner, offset=offset, canvas=canvas)


def _framed(
    size: tuple[int, int], canvas: tuple[int, int], room: float, max_upscale: float, subject: Box
) -> Placement:
    """The part of the source around ``subject`` that fills the canvas, as far as the source has it."""
    left, top, right, bottom = (share * size[axis % 2] for axis, share in enumerate(subject))
    scale = min(canvas[0] * room / (right - left), canvas[1] * room / (bottom - top), max_upscale)
    box: list[float] = []
    inner: list[int] = []
    offset: list[int] = []
    for axis, middle in enumerate(((left + right) / 2, (top + bottom) / 2)):
        begin = middle - canvas[axis] / scale / 2
        low, high = max(0.0, begin), min(float(size[axis]), begin + canvas[axis] / scale)
        first = round((low - begin) * scale)
        box += [low, high]
        inner.append(max(1, min(round((high - low) * scale), canvas[axis] - first)))
        offset.append(first)
    return Placement(
        box=(box[0], box[2], box[1], box[3]), size=(inner[0], inner[1]), offset=(offset[0], offset[1]), canvas=canvas
    )


def resample(
    image: Image.Image, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Resize (the ``box`` of) an RGB or RGBA picture with Lanczos.

    Large reductions average whole pixels first, to a third over the goal, which costs a fraction and looks the same.
    Transparent pictures are resized premultiplied, so that colours hidden under clear pixels do not darken the edge.
    Resampling is done on sRGB values: in linear light thin dark lines on a white ground (seams, print) would fade.
    """
    if box in (None, (0.0, 0.0, float(image.width), float(image.height))) and size == image.size:
        return image.copy()
    if image.mode == "RGBA":
        return _resize(image.convert("RGBa"), size, box).convert("RGBA")
    return _resize(image, size, box)


def edge_colour(image: Image.Image) -> Colour:
    """The colour of the picture's ground, judged by its edge: the mean of the most frequent colour there (sRGB).

    Clear pixels do not count; white when the whole edge is clear.
    """
    pixels = np.asarray(_plain_mode(image).convert("RGBA"))
    band = max(1, round(min(pixels.shape[:2]) * 0.02))
    parts = [pixels[:band], pixels[-band:], pixels[:, :band], pixels[:, -band:]]
    edge = np.concatenate([part.reshape(-1, 4) for part in parts])
    edge = edge[edge[:, 3] > 127, :3].astype(np.int64)
    if len(edge) == 0:
        return 255, 255, 255
    # Groups of 16 levels; the winner's mean is exact where the ground is.
    groups = (edge[:, 0] >> 4 << 8) | (edge[:, 1] >> 4 << 4) | edge[:, 2] >> 4
    chosen = edge[groups == np.bincount(groups).argmax()]
    red, green, blue = np.rint(chosen.mean(axis=0)).astype(int).tolist()
    return red, green, blue


def _resize(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None) -> Image.Image:
    return image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _scaled(wide: float, high: float, scale: float) -> tuple[int, int]:
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _plain_mode(image: Image.Image) -> Image.Image:
    """RGB, or RGBA when the picture has transparency."""
    clear = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    mode = "RGBA" if clear else "RGB"
    return image if image.mode == mode and "transparency" not in image.info else image.convert(mode)


def _checked(colour: Colour) -> Colour:
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise ValueError(f"A background is three values of 0 to 255, not {colour!r}.")
    return colour


def _check(
    width: int, height: int, mode: Mode, margin: float, max_upscale: float, focus: tuple[float, float], subject: Box
) -> None:
    if mode not in ("crop", "pad", "resize", "frame"):
        raise ValueError(f"The mode is crop, pad, resize or frame, not {mode!r}.")
    if not (0.0 <= subject[0] < subject[2] <= 1.0 and 0.0 <= subject[1] < subject[3] <= 1.0):
        raise ValueError(f"The subject is a box with sides of 0 to 1, not {subject!r}.")
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise ValueError(f"A picture is 1 to {_MAX_SIDE} pixels wide and high, not {width} x {height}.")
    if not 0.0 <= margin <= 0.45:
        raise ValueError(f"The margin is 0 to 0.45 of each side, not {margin}.")
    if not max_upscale >= 1.0:
        raise ValueError(f"The largest enlargement is at least 1, not {max_upscale}.")
    if not all(0.0 <= value <= 1.0 for value in focus):
        raise ValueError(f"The focus is two values of 0 to 1, not {focus!r}.")
