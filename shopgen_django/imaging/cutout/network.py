"""A cut-out network from an ONNX file as a finder, with its preprocessing declared beside it.

A folder holds ``model.onnx`` and ``model.json``; the latter's ``sha256`` is the file's, and its ``cutout`` says how a
picture becomes the network's input and its output a belief (:class:`Spec`). Nothing in such a folder can run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shopgen_django.imaging.onnx_session import OnnxRuntimeMissing, OnnxUnreadable, open_session

__all__ = ["CARD", "NETWORK", "NetworkError", "OnnxFinder", "Spec", "read_card"]

NETWORK, CARD = "model.onnx", "model.json"
MAX_BYTES = 2 << 30

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


class NetworkError(ValueError):
    """A network's folder can't be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How pictures go in and beliefs come out.

    The picture is resized to ``width`` x ``height`` (both multiples of what the network needs), its bytes divided by
    255 or by their largest value (``scale``), then ``(x - mean) / std`` per channel, RGB, planes first. Output number
    ``output`` (n, 1, h, w) passes through ``activation``. ``stretch`` brings its smallest and largest value to 0 and 1,
    as networks of the U2-Net kind are used, unless the largest is under ``presence``: then there is nothing to see.
    """

    width: int
    height: int
    scale: Literal["255", "max"] = "255"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    output: int = 0
    activation: Literal["none", "sigmoid"] = "none"
    stretch: bool = False
    presence: float = 0.3

    def __post_init__(self) -> None:
        if not (8 <= self.width <= 4096 and 8 <= self.height <= 4096):
            raise NetworkError(
                f"A cut-out network's input is 8 to 4096 pixels a side, not {self.width} x {self.height}."
            )
        if self.scale not in ("255", "max") or self.activation not in ("none", "sigmoid"):
            raise NetworkError("scale is 255 or max, activation is none or sigmoid.")
        if len(self.mean) != 3 or len(self.std) != 3 or any(value <= 0 for value in self.std):
            raise NetworkError("mean and std are three numbers each, std above 0.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """Raises :class:`NetworkError` for unknown names and values that don't fit."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise NetworkError(f"Unknown in the description of a cut-out network: {', '.join(unknown)}.")
        settled: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**settled)
        except TypeError as error:
            raise NetworkError(f"The description of the cut-out network is incomplete: {error}.") from None


def read_card(folder: Path) -> dict[str, Any]:
    """The content of ``model.json``. Raises :class:`NetworkError`."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworkError(f"There is no network in {folder} ({path.name} can't be read: {error.strerror}).") from None
    except ValueError as error:
        raise NetworkError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(card, dict) or not isinstance(card.get("cutout"), dict) or "sha256" not in card:
        raise NetworkError(f"{path} does not describe a cut-out network: it needs sha256 and cutout.")
    return card


class OnnxFinder:
    """A finder over ``folder``; see the module's text. Loaded once, may be called from several threads.

    ``threads`` is how many cores a call uses. Raises :class:`NetworkError` when the file is not what its card says,
    when onnxruntime is missing, or can't read it.
    """

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder)
        self.spec = Spec.from_dict(self.card["cutout"])
        path = self.folder / NETWORK
        try:
            if path.stat().st_size > MAX_BYTES:
                raise NetworkError(f"{path} is larger than 2 GiB.")
            data = path.read_bytes()
        except OSError as error:
            raise NetworkError(f"{path} can't be read: {error.strerror}.") from None
        if hashlib.sha256(data).hexdigest() != self.card["sha256"]:
            raise NetworkError(f"{path} is not the file that {CARD} describes (its SHA-256 differs). Add it again.")
        self._session = _session(data, path, threads)
        self._input = self._session.get_inputs()[0].name
        outputs = self._session.get_outputs()
        if not 0 <= self.spec.output < len(outputs):
            raise NetworkError(
                f"{path} has {len(outputs)} outputs; the description asks for number {self.spec.output}."
            )
        self._output = outputs[self.spec.output].name

    def __call__(self, rgb: ByteArray) -> FloatArray:
        """(h, w, 3) uint8 -> belief (spec.height, spec.width) float32 in 0..1."""
        raw = self._run(self._prepared(rgb))
        if self.spec.activation == "sigmoid":
            raw = np.asarray(1.0 / (1.0 + np.exp(-raw)), np.float32)
        if self.spec.stretch:
            low, high = float(raw.min()), float(raw.max())
            # Stretching a blank answer would turn its noise into a product.
            raw = (raw - low) / (high - low) if high >= self.spec.presence and high > low else np.zeros_like(raw)
        return np.clip(raw, 0.0, 1.0).astype(np.float32)

    def _prepared(self, rgb: ByteArray) -> FloatArray:
        from PIL import Image

        resized = Image.fromarray(rgb).resize((self.spec.width, self.spec.height), Image.Resampling.LANCZOS)
        pixels = np.asarray(resized)
        top = max(1.0, float(pixels.max())) if self.spec.scale == "max" else 255.0
        pixels = (pixels / top - np.array(self.spec.mean, np.float32)) / np.array(self.spec.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)

    def _run(self, batch: FloatArray) -> FloatArray:
        try:
            (answer,) = self._session.run([self._output], {self._input: batch})
        except Exception as error:  # onnxruntime's errors share no base class of its own
            raise NetworkError(f"The network in {self.folder} can't take its input: {error}") from error
        answer = np.asarray(answer, np.float32)
        if answer.ndim != 4 or answer.shape[:2] != (1, 1) or not np.isfinite(answer).all():
            raise NetworkError(f"The network in {self.folder} does not answer with one finite map, but {answer.shape}.")
        return answer[0, 0]


def _session(data: bytes, path: Path, threads: int) -> Any:
    try:
        return open_session(data, threads=threads)
    except OnnxRuntimeMissing:
        raise NetworkError(
            "Cut-out networks run on onnxruntime, which is not installed: pip install 'shopgen-django[onnx]'."
        ) from None
    except OnnxUnreadable as error:
        raise NetworkError(f"{path} is not an ONNX network that onnxruntime can load: {error}") from error
