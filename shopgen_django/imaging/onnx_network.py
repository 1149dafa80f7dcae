"""An ONNX network in a folder, with its preprocessing declared beside it.

A folder holds ``model.onnx`` and ``model.json``. The latter's ``sha256`` is the file's, and one part of it says how
pictures go in and what comes out: ``cutout`` (:mod:`.cutout.network`), ``picture`` (:mod:`.onnx_pictures`), ``labels``
(:mod:`.onnx_labels`) or ``letters`` (:mod:`.onnx_letters`). Nothing in such a folder can run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from shopgen_django.imaging.network_card import CARD, NETWORK, NetworkError, read_card
from shopgen_django.imaging.onnx_session import OnnxRuntimeMissing, OnnxUnreadable, open_session

__all__ = ["CARD", "NETWORK", "ByteArray", "FloatArray", "InputSpec", "NetworkError", "OnnxNetwork", "read_card"]

MAX_BYTES = 2 << 30

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How pictures go in: bytes divided by ``scale`` ("max": by their largest value), then ``(x - mean) / std`` per
    channel, the channels in ``order``; output number ``output`` is taken."""

    about: ClassVar[str] = "network"

    scale: Literal["255", "1", "max"] = "255"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: Literal["rgb", "bgr"] = "rgb"
    output: int = 0

    def __post_init__(self) -> None:
        if self.scale not in ("255", "1", "max") or self.order not in ("rgb", "bgr"):
            raise NetworkError("scale is 255, 1 or max, order is rgb or bgr.")
        if len(self.mean) != 3 or len(self.std) != 3 or any(value <= 0 for value in self.std):
            raise NetworkError("mean and std are three numbers each, std above 0.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Raises :class:`NetworkError` for unknown names and values that don't fit."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise NetworkError(f"Unknown in the description of a {cls.about}: {', '.join(unknown)}.")
        settled: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**settled)
        except TypeError as error:
            raise NetworkError(f"The description of the {cls.about} is incomplete or wrong: {error}.") from None

    def prepared(self, rgb: ByteArray) -> FloatArray:
        """(h, w, 3) uint8 -> (1, 3, h, w) float32."""
        top = max(1.0, float(rgb.max())) if self.scale == "max" else float(self.scale)
        pixels = rgb if self.order == "rgb" else rgb[..., ::-1]
        scaled = (pixels / top - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def require_side(width: int, height: int, about: str) -> None:
    """Raises :class:`NetworkError` for an input that no network has."""
    if not (8 <= width <= 4096 and 8 <= height <= 4096):
        raise NetworkError(f"A {about}'s input is 8 to 4096 pixels a side, not {width} x {height}.")


class OnnxNetwork:
    """The network of ``folder``; see the module's text. Loaded once, may be called from several threads.

    ``threads`` is how many cores a call uses. Raises :class:`NetworkError` when the file is not what its card says,
    when onnxruntime is missing, or can't read it.
    """

    part: ClassVar[str]
    about: ClassVar[str]
    output_number = 0

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder, self.part)
        self.read_spec(self.card[self.part])
        path = self.folder / NETWORK
        try:
            if path.stat().st_size > MAX_BYTES:
                raise NetworkError(f"{path} is larger than 2 GiB.")
            data = path.read_bytes()
        except OSError as error:
            raise NetworkError(f"{path} can't be read: {error.strerror}.") from None
        if hashlib.sha256(data).hexdigest() != self.card["sha256"]:
            raise NetworkError(f"{path} is not the file that {CARD} describes (its SHA-256 differs). Add it again.")
        self._session = self._opened(data, path, threads)
        self._input = self._session.get_inputs()[0].name
        outputs = self._session.get_outputs()
        if not 0 <= self.output_number < len(outputs):
            raise NetworkError(
                f"{path} has {len(outputs)} outputs; the description asks for number {self.output_number}."
            )
        self._output = outputs[self.output_number].name

    def read_spec(self, values: Mapping[str, Any]) -> None:
        """Keep what the card says about input and output. Raises :class:`NetworkError`."""
        raise NotImplementedError

    def run(self, batch: FloatArray, wanted: str, fits: Any) -> FloatArray:
        """The output for ``batch``; ``fits(shape)`` says whether it is what is expected, ``wanted`` in words.

        Raises :class:`NetworkError` for another shape and for values that are no numbers.
        """
        try:
            (answer,) = self._session.run([self._output], {self._input: batch})
        except Exception as error:  # onnxruntime's errors share no base class of its own
            raise NetworkError(f"The network in {self.folder} can't take its input: {error}") from error
        answer = np.asarray(answer, np.float32)
        if not fits(answer.shape) or not np.isfinite(answer).all():
            raise NetworkError(f"The network in {self.folder} does not answer with {wanted}, but {answer.shape}.")
        return answer

    def _opened(self, data: bytes, path: Path, threads: int) -> Any:
        try:
            return open_session(data, threads=threads)
        except OnnxRuntimeMissing:
            raise NetworkError(
                f"A {self.about} runs on onnxruntime, which is not installed: pip install 'shopgen-django[onnx]'."
            ) from None
        except OnnxUnreadable as error:
            raise NetworkError(f"{path} is not an ONNX network that onnxruntime can load: {error}") from error
