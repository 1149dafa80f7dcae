"""A network from an ONNX file that gives a picture back, mended or enlarged (``picture`` in its card)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .onnx_network import ByteArray, InputSpec, NetworkError, OnnxNetwork

PART = "picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSpec(InputSpec):
    """How pictures go in and come out: (1, 3, h, w) to (1, 3, ``factor`` h, ``factor`` w), on the scale of the input.

    Large pictures go through in tiles of ``tile`` pixels with ``overlap`` more on each side, which is cut off again: as
    far as the network looks. ``multiple``: what an input's sides must be multiples of. ``fixed``: the network takes
    inputs of ``tile`` + 2 ``overlap`` pixels and no others.
    """

    about: ClassVar[str] = "picture network"

    factor: int = 1
    tile: int = 256
    overlap: int = 16
    multiple: int = 1
    fixed: bool = False

    def __post_init__(self) -> None:
        InputSpec.__post_init__(self)
        if self.factor not in (1, 2, 3, 4) or self.scale == "max":
            raise NetworkError("A picture network's factor is 1, 2, 3 or 4, and its scale 255 or 1.")
        if not (16 <= self.tile <= 4096 and 0 <= self.overlap <= 512 and 1 <= self.multiple <= 128):
            raise NetworkError("tile is 16 to 4096 pixels, overlap 0 to 512, multiple 1 to 128.")
        if self.fixed and (self.tile + 2 * self.overlap) % self.multiple:
            raise NetworkError("The fixed input (tile + 2 overlap) is not a multiple of multiple.")


class OnnxPainter(OnnxNetwork):
    """A network that takes noise out, mends or enlarges."""

    part = PART
    about = PictureSpec.about

    def read_spec(self, values: Mapping[str, Any]) -> None:
        self.spec = PictureSpec.from_dict(values)
        self.output_number = self.spec.output

    def __call__(self, rgb: ByteArray, *, on_tile: Callable[[float], object] | None = None) -> ByteArray:
        """``(h, w, 3)`` uint8 -> ``(factor h, factor w, 3)``; ``on_tile`` hears the share that is done, and what it
        raises ends the work. Raises :class:`NetworkError`."""
        tile, around, factor = self.spec.tile, self.spec.overlap, self.spec.factor
        height, width = rgb.shape[:2]
        made = np.empty((factor * height, factor * width, 3), np.uint8)
        places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
        for number, (y, x) in enumerate(places, start=1):
            rows, columns = min(tile, height - y), min(tile, width - x)
            part = self._part(rgb, y, x, rows, columns)
            large = self._made(part)
            inner = large[factor * around : factor * (around + rows), factor * around : factor * (around + columns)]
            made[factor * y : factor * (y + rows), factor * x : factor * (x + columns)] = inner
            if on_tile is not None:
                on_tile(number / len(places))
        return made

    def _part(self, rgb: ByteArray, y: int, x: int, rows: int, columns: int) -> ByteArray:
        """Rows and columns with what is around them; beyond the picture's edge it is mirrored."""
        around = self.spec.overlap
        sides = [rows + 2 * around, columns + 2 * around]
        if self.spec.fixed:
            sides = [self.spec.tile + 2 * around] * 2
        sides = [-(-side // self.spec.multiple) * self.spec.multiple for side in sides]
        index = [
            _mirrored(np.arange(start - around, start - around + side), length)
            for start, side, length in ((y, sides[0], rgb.shape[0]), (x, sides[1], rgb.shape[1]))
        ]
        return rgb[np.ix_(index[0], index[1])]

    def _made(self, part: ByteArray) -> ByteArray:
        spec, (rows, columns) = self.spec, part.shape[:2]
        wanted = (1, 3, spec.factor * rows, spec.factor * columns)
        answer = self.run(spec.prepared(part), f"a finite picture {wanted}", lambda shape: shape == wanted)[0]
        pixels = answer.transpose(1, 2, 0) * np.array(spec.std, np.float32) + np.array(spec.mean, np.float32)
        pixels = np.clip(np.rint(pixels * float(spec.scale)), 0, 255).astype(np.uint8)
        return pixels if spec.order == "rgb" else pixels[..., ::-1]


def _mirrored(index: Any, length: int) -> Any:
    """Indices beyond ``0 .. length - 1`` folded back, without doubling the edge."""
    if length == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * (length - 1))
    return np.where(folded < length, folded, 2 * (length - 1) - folded)
