"""A network from an ONNX file that finds writing in pictures (``letters`` in its card)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .onnx_network import ByteArray, FloatArray, InputSpec, NetworkError, OnnxNetwork

PART = "letters"
GROWN = 1.6
"""The networks are taught the middle of each line of writing, shrunk by ``area * (1 - 0.4^2) / outline``; what is found
grows back by ``GROWN * area / outline`` (Liao et al. 2020, "Real-time Scene Text Detection with Differentiable
Binarization", section 3.4, whose factor is 1.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LettersSpec(InputSpec):
    """How pictures go in and writing comes out, as networks of the DB kind (Liao et al. 2020) do it.

    The shorter side is brought to at least ``least``, the longer one to at most ``most`` pixels, both to multiples of
    ``multiple``. Output (1, 1, h, w) is how likely each pixel is writing; areas over ``threshold`` whose mean is over
    ``sure`` are. Areas higher than ``highest`` of the picture's shorter side are left out: on photos without a letter
    such networks take large things in the middle for one line of writing.
    """

    about: ClassVar[str] = "network that finds writing"

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    order: Any = "bgr"
    least: int = 736
    most: int = 1600
    multiple: int = 32
    threshold: float = 0.3
    sure: float = 0.5
    highest: float = 0.25

    def __post_init__(self) -> None:
        InputSpec.__post_init__(self)
        if not (32 <= self.least <= self.most <= 4096 and 1 <= self.multiple <= 128):
            raise NetworkError("least and most are 32 to 4096 pixels, multiple 1 to 128.")
        if not all(0 < value < 1 for value in (self.threshold, self.sure, self.highest)):
            raise NetworkError("threshold, sure and highest are between 0 and 1.")


class OnnxLetters(OnnxNetwork):
    """A network that finds writing."""

    part = PART
    about = LettersSpec.about

    def read_spec(self, values: Mapping[str, Any]) -> None:
        self.spec = LettersSpec.from_dict(values)
        self.output_number = self.spec.output

    def __call__(self, rgb: ByteArray) -> FloatArray:
        """``(h, w, 3)`` uint8 -> ``(h, w)`` float32, 1 where writing is, else 0. Raises :class:`NetworkError`."""
        import cv2

        spec, (height, width) = self.spec, rgb.shape[:2]
        share = max(1.0, spec.least / min(height, width))
        share = min(share, spec.most / max(height, width))
        sides = [max(spec.multiple, round(side * share / spec.multiple) * spec.multiple) for side in (width, height)]
        batch = spec.prepared(np.asarray(cv2.resize(rgb, sides, interpolation=cv2.INTER_AREA), np.uint8))
        found = self.run(batch, "one finite map", lambda shape: len(shape) == 4 and shape[:2] == (1, 1))[0, 0]
        mask = np.zeros(found.shape, np.uint8)
        outlines, _levels = cv2.findContours(
            (found > spec.threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        for outline in outlines:
            if not self._is_line(outline, found):
                continue
            around = max(1.0, cv2.arcLength(outline, closed=True))
            grown = GROWN * max(1.0, cv2.contourArea(outline)) / around
            cv2.drawContours(mask, [outline], -1, 1, thickness=cv2.FILLED)
            cv2.drawContours(mask, [outline], -1, 1, thickness=max(1, round(2 * grown)))
        return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)

    def _is_line(self, outline: Any, found: FloatArray) -> bool:
        import cv2

        _centre, sides, _angle = cv2.minAreaRect(outline)
        if min(sides) > self.spec.highest * min(found.shape):
            return False
        x, y, width, height = cv2.boundingRect(outline)
        inside = np.zeros((height, width), np.uint8)
        cv2.drawContours(inside, [outline], -1, 1, thickness=cv2.FILLED, offset=(-x, -y))
        return float(found[y : y + height, x : x + width][inside > 0].mean()) >= self.spec.sure
