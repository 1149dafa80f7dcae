"""One picture from disk to a square array: decoded to 8 bit and fitted, or refused with a reason."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
MIN_SIDE = 8
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2"}
)
WHITE = (255, 255, 255)


class BadPicture(Exception):
    """A file that can't be used; the message is the reason that goes into ``dataset.json``."""


def decode(data: bytes, *, near: int | None = None) -> Image.Image:
    """Decode the first frame, upright (EXIF), as 8-bit ``L``, ``RGB`` or ``RGBA``.

    Args:
        data: the file's bytes; the kind is found from the content, not from the file's name.
        near: a side in pixels; JPEGs may be decoded at a smaller scale that is still at least this large.

    Raises:
        BadPicture: empty, not a picture, broken or cut off, too small, too large.
    """
    if not data:
        raise BadPicture("empty file")
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadPicture(f"too large ({width} x {height} pixels)")
        if min(width, height) < MIN_SIDE:
            raise BadPicture(f"too small ({width} x {height} pixels; {MIN_SIDE} are needed)")
        if near:
            image.draft(None, (near, near))
        image.load()
        return to_8bit(ImageOps.exif_transpose(image))
    except BadPicture:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadPicture("not a picture" if isinstance(error, UnidentifiedImageError) else "too large") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        TypeError,
        KeyError,
        MemoryError,
        OverflowError,
    ) as error:
        # Pillow's decoders raise any of these on damaged data.
        raise BadPicture(f"broken or cut off ({error})") from None


def to_8bit(image: Image.Image) -> Image.Image:
    """Any Pillow mode to ``L``, ``RGB`` or ``RGBA``: palettes, CMYK, 1, 16 and 32 bit, floats, alpha."""
    mode = image.mode
    if mode in ("L", "RGB", "RGBA"):
        return image if not (mode in ("L", "RGB") and "transparency" in image.info) else image.convert("RGBA")
    if mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if mode == "1":
        return image.convert("L")
    if mode in ("LA", "La", "PA", "RGBa"):
        return image.convert("RGBA")
    if mode.startswith("I") or mode == "F":
        return _deep_to_8bit(np.asarray(image, dtype=np.float64))
    return image.convert("RGB")  # CMYK, YCbCr, LAB, HSV, RGBX


def _deep_to_8bit(values: NDArray[np.float64]) -> Image.Image:
    """Grey values beyond 8 bit: 0..1 floats, 0..255, or 16 bit, told apart by the largest value."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    scale = 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 255.0 / 65535.0 if top <= 65535.0 else 255.0 / top
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on white; others pass unchanged."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, (*WHITE, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def to_square(image: Image.Image, *, size: int, channels: int, fit: Literal["pad", "crop"] | str) -> NDArray[np.uint8]:
    """Fit an 8-bit picture into a ``(channels, size, size)`` array.

    ``crop`` takes the middle square; ``pad`` keeps the whole picture and fills with the median colour of its border
    (transparent white with four channels).
    """
    if channels == 4:
        image = image.convert("RGBA")
    else:
        image = on_white(image).convert("L" if channels == 1 else "RGB")
    if fit == "crop":
        square = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    else:
        fill: int | tuple[int, ...] = (*WHITE, 0) if channels == 4 else _border_colour(image)
        square = Image.new(image.mode, (size, size), fill)
        scale = size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        small = image.resize((width, height), Image.Resampling.LANCZOS)
        square.paste(small, ((size - width) // 2, (size - height) // 2))
    array = np.asarray(square, dtype=np.uint8)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def frame_product(image: Image.Image, *, margin: float = 0.06) -> Image.Image:
    """Crop or widen a picture on white so that the product fills a square up to ``margin`` of its side all round.

    Products of the same size in the same place are far easier to learn. A few stray dots don't count; a picture in
    which nothing stands out from white comes back unchanged.
    """
    ink = (np.asarray(image.convert("RGB")) < 240).any(axis=2)
    rows = np.flatnonzero(ink.mean(axis=1) > 0.01)
    columns = np.flatnonzero(ink.mean(axis=0) > 0.01)
    if not len(rows) or not len(columns):
        return image
    left, right, top, bottom = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    side = max(MIN_SIDE, round(max(right - left, bottom - top) / (1.0 - 2.0 * margin)))
    square = Image.new("RGB", (side, side), WHITE)
    product = image.convert("RGB").crop((left, top, right, bottom))
    square.paste(product, ((side - product.width) // 2, (side - product.height) // 2))
    return square


def _border_colour(image: Image.Image) -> int | tuple[int, ...]:
    array = np.asarray(image)
    edge = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
    median = np.median(edge, axis=0)
    return int(median) if median.ndim == 0 else tuple(int(v) for v in median)


def to_pillow(array: NDArray[np.uint8]) -> Image.Image:
    """The inverse direction: ``(channels, height, width)`` 8-bit to an ``L``, ``RGB`` or ``RGBA`` picture."""
    if array.shape[0] == 1:
        return Image.fromarray(array[0])
    return Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))


def sheet(pictures: list[Image.Image], *, columns: int | None = None, scale: int = 1, gap: int = 2) -> Image.Image:
    """A contact sheet on white; transparent pictures are laid on white. All pictures have the same size."""
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    columns = columns or max(1, round(len(pictures) ** 0.5))
    rows = -(-len(pictures) // columns)
    width, height = (side * scale for side in pictures[0].size)
    result = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), WHITE)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        shown = on_white(picture).convert("RGB")
        if scale > 1:
            shown = shown.resize((width, height), Image.Resampling.NEAREST)
        result.paste(shown, (gap + column * (width + gap), gap + row * (height + gap)))
    return result


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
