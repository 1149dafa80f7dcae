"""A network from an ONNX file that says how well each of its labels fits a picture (``labels`` in its card)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from .onnx_network import FloatArray, InputSpec, NetworkError, OnnxNetwork, require_side

PART = "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpec(InputSpec):
    """How pictures go in and scores come out.

    The picture is resized to ``width`` x ``height``; with ``margin``, to that many pixels more on each side, which are
    cut off. Output (1, number of ``labels``) passes through ``activation``; "none" is for networks that end in one.
    ``layout``: whether the channels come first or last.
    """

    about: ClassVar[str] = "labelling network"

    width: int
    height: int
    labels: tuple[str, ...]
    margin: int = 0
    layout: Literal["nchw", "nhwc"] = "nchw"
    activation: Literal["none", "softmax", "sigmoid"] = "none"

    def __post_init__(self) -> None:
        InputSpec.__post_init__(self)
        require_side(self.width, self.height, self.about)
        if self.layout not in ("nchw", "nhwc") or self.activation not in ("none", "softmax", "sigmoid"):
            raise NetworkError("layout is nchw or nhwc, activation is none, softmax or sigmoid.")
        if not self.labels or not all(isinstance(label, str) and label for label in self.labels):
            raise NetworkError("labels are words, in the order of the network's output.")
        if not 0 <= self.margin <= 1024:
            raise NetworkError("margin is 0 to 1024 pixels.")


class OnnxLabels(OnnxNetwork):
    """A network that sorts pictures."""

    part = PART
    about = LabelSpec.about

    def read_spec(self, values: Mapping[str, Any]) -> None:
        self.spec = LabelSpec.from_dict(values)
        self.output_number = self.spec.output

    def __call__(self, image: Image.Image) -> dict[str, float]:
        """Label -> score 0..1, in the network's order. Raises :class:`NetworkError`."""
        spec, margin = self.spec, self.spec.margin
        size = (spec.width + 2 * margin, spec.height + 2 * margin)
        resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        resized = resized.crop((margin, margin, margin + spec.width, margin + spec.height))
        batch = spec.prepared(np.asarray(resized))
        if spec.layout == "nhwc":
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        wanted = (1, len(spec.labels))
        scores = self._scores(self.run(batch, f"{wanted} finite scores", lambda shape: shape == wanted)[0])
        if scores.min() < -1e-3 or scores.max() > 1 + 1e-3:
            raise NetworkError(
                f"The network in {self.folder} answers with scores beyond 0..1; its description needs an activation."
            )
        return {label: float(np.clip(score, 0, 1)) for label, score in zip(spec.labels, scores, strict=True)}

    def _scores(self, raw: FloatArray) -> FloatArray:
        if self.spec.activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-raw)), np.float32)
        if self.spec.activation == "softmax":
            weights = np.exp(raw - raw.max())
            return np.asarray(weights / weights.sum(), np.float32)
        return raw
