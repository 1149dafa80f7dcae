"""A cut-out network from an ONNX file as a finder (``cutout`` in its card, see :mod:`..onnx_network`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from shopgen_django.imaging.onnx_network import (
    CARD,
    NETWORK,
    ByteArray,
    FloatArray,
    InputSpec,
    NetworkError,
    OnnxNetwork,
    require_side,
)
from shopgen_django.imaging.onnx_network import read_card as _read_card

__all__ = ["CARD", "NETWORK", "NetworkError", "OnnxFinder", "Spec", "read_card"]

PART = "cutout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(InputSpec):
    """How pictures go in and beliefs come out.

    The picture is resized to ``width`` x ``height`` (both multiples of what the network needs). Output (n, 1, h, w)
    passes through ``activation``. ``stretch`` brings its smallest and largest value to 0 and 1, as networks of the
    U2-Net kind are used, unless the largest is under ``presence``: then there is nothing to see.
    """

    about: ClassVar[str] = "cut-out network"

    width: int
    height: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    activation: Literal["none", "sigmoid"] = "none"
    stretch: bool = False
    presence: float = 0.3

    def __post_init__(self) -> None:
        InputSpec.__post_init__(self)
        require_side(self.width, self.height, self.about)
        if self.activation not in ("none", "sigmoid"):
            raise NetworkError("activation is none or sigmoid.")


def read_card(folder: Any) -> dict[str, Any]:
    """The content of ``model.json`` of a cut-out network. Raises :class:`NetworkError`."""
    return _read_card(folder, PART)


class OnnxFinder(OnnxNetwork):
    """A finder over a folder."""

    part = PART
    about = Spec.about

    def read_spec(self, values: Mapping[str, Any]) -> None:
        self.spec = Spec.from_dict(values)
        self.output_number = self.spec.output

    def __call__(self, rgb: ByteArray) -> FloatArray:
        """(h, w, 3) uint8 -> belief (spec.height, spec.width) float32 in 0..1."""
        from PIL import Image

        resized = Image.fromarray(rgb).resize((self.spec.width, self.spec.height), Image.Resampling.LANCZOS)
        batch = self.spec.prepared(np.asarray(resized))
        raw = self.run(batch, "one finite map", lambda shape: len(shape) == 4 and shape[:2] == (1, 1))[0, 0]
        if self.spec.activation == "sigmoid":
            raw = np.asarray(1.0 / (1.0 + np.exp(-raw)), np.float32)
        if self.spec.stretch:
            low, high = float(raw.min()), float(raw.max())
            # Stretching a blank answer would turn its noise into a product.
            raw = (raw - low) / (high - low) if high >= self.spec.presence and high > low else np.zeros_like(raw)
        return np.clip(raw, 0.0, 1.0).astype(np.float32)
