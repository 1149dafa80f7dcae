"""Feature extractors: the one that ships, and those that a user brings. Each has an identity that its figures carry.

A user's extractor is data, never code: an ``.onnx`` graph run by onnxruntime, or the weights of Inception v3 as
``.safetensors``. Beside it lies a ``.json`` of the same name that says how pictures are to be prepared; nothing is
guessed. TorchScript and pickled weights are refused: loading them can run anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shopgen_django.imaging.onnx_session import OnnxRuntimeMissing, OnnxUnreadable, open_session
from shopgen_django.ml import files
from shopgen_django.ml.errors import MissingExtra, ModelFileError
from shopgen_django.ml.shipped import fill

from .network import DIMENSION, LAYER, SIDE, FeatureNetwork, to_input

SHIPPED = Path(__file__).resolve().parents[2] / "weights" / "features.safetensors"
CHUNK = 64
PICKLED = frozenset({".pt", ".pth", ".pkl", ".ckpt", ".bin", ".ts", ".jit", ".torchscript"})
INCEPTION = "inception-v3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes two figures comparable: the same weights, layer, resize rule and number type."""

    name: str
    sha256: str
    layer: str
    dimension: int
    resize: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}@{self.sha256[:16]}/{self.layer}[{self.dimension}]/{self.resize}/{self.dtype}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the whole as ``id``."""
        return {"id": str(self), **asdict(self)}


class Extractor(ABC):
    """Turns pictures into feature vectors."""

    identity: Identity

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """``(n, 1|3|4, h, w)`` uint8 of any size -> ``(n, d)`` float64.

        Raises:
            ModelFileError: the extractor gives something else than finite vectors of its dimension.
        """
        parts = [self._part(pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
        found = np.concatenate(parts).astype(np.float64) if parts else np.empty((0, self.identity.dimension))
        if found.ndim != 2 or found.shape[1] != self.identity.dimension or not np.isfinite(found).all():
            raise ModelFileError(
                f"The extractor {self.identity.name} gave an array of shape {found.shape}, or values that are not "
                f"finite numbers; (pictures, {self.identity.dimension}) is needed."
            )
        return found

    @abstractmethod
    def _part(self, pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Features of a few pictures."""


def load_extractor(path: str | Path | None = None, *, device: str = "cpu") -> Extractor:
    """The extractor that ships, or the user's at ``path``: ``.onnx`` or ``.safetensors`` with a ``.json`` beside it.

    Raises:
        ModelFileError: missing, damaged, of a kind that could run code, or without a description.
        MissingExtra: an ``.onnx`` file, and no onnxruntime.
    """
    if path is None:
        return ShippedExtractor(device=device)
    file = Path(path)
    kind = file.suffix.lower()
    if kind in PICKLED:
        raise ModelFileError(
            f"{file.name} is (or may be) a pickle or TorchScript file, and loading such a file can run any program. "
            "Export the network to .onnx, or save Inception's weights as .safetensors."
        )
    if kind not in (".onnx", ".safetensors"):
        raise ModelFileError(f"An extractor is an .onnx or a .safetensors file; {file.name} is neither.")
    data = _read(file)
    preparation = _read_preparation(file.with_suffix(".json"))
    return OnnxExtractor(file.stem, data, preparation) if kind == ".onnx" else InceptionExtractor(
        file.stem, data, preparation, device=device
    )


class ShippedExtractor(Extractor):
    """The small network that ships in the package; see its card in ``weights/``."""

    def __init__(self, weights: Path = SHIPPED, *, device: str = "cpu") -> None:
        data = _read(weights)
        network = FeatureNetwork()
        fill(network, data, weights)
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device
        self.identity = Identity(
            name="shopgen-features", sha256=files.sha256_bytes(data), layer=LAYER, dimension=DIMENSION,
            resize=f"bilinear-antialias-{SIDE}", dtype="float32",
        )  # fmt: skip

    @torch.no_grad()
    def _part(self, pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = self._network(to_input(pictures).to(self._device)).float().cpu().numpy()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a user's extractor wants its pictures: the content of the ``.json`` beside it.

    ``side`` pixels after one antialiased bilinear resize; then, with values in 0..1, ``(value - mean) / std`` for each
    channel, in the order ``channels`` (rgb, bgr or grey). ``layer`` and ``dimension`` name what comes out; ``output``
    is the name of the graph's output (ONNX with several); ``architecture`` is needed for weights.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dimension: int
    channels: str = "rgb"
    layer: str = "output"
    output: str = ""
    architecture: str = ""
    variant: str = "fid"

    def __call__(self, pictures: NDArray[np.uint8]) -> Tensor:
        values = to_input(pictures, self.side).add(1.0).mul(0.5)
        if self.channels == "grey":
            values = (values * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif self.channels == "bgr":
            values = values.flip(1)
        mean, std = (torch.tensor(given).view(1, -1, 1, 1) for given in (self.mean, self.std))
        return (values - mean) / std

    def describe(self) -> str:
        """The part of the identity that says how pictures were prepared."""
        numbers = files.sha256_bytes(files.canonical_json(asdict(self)))[:8]
        return f"bilinear-antialias-{self.side}-{self.channels}-{numbers}"


class OnnxExtractor(Extractor):
    """A graph with one picture input ``(n, c, side, side)`` float32."""

    def __init__(self, name: str, data: bytes, preparation: Preparation) -> None:
        self._session = open_onnx(name, data)
        self._preparation = preparation
        self._input = self._session.get_inputs()[0].name
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = preparation.output or outputs[0]
        if self._output not in outputs:
            raise ModelFileError(f"{name} has no output {self._output!r}. It has: {', '.join(outputs)}.")
        self.identity = Identity(
            name=name, sha256=files.sha256_bytes(data), layer=self._output, dimension=preparation.dimension,
            resize=preparation.describe(), dtype="float32",
        )  # fmt: skip

    def _part(self, pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
        given = self._preparation(pictures).numpy()
        try:
            found = np.asarray(self._session.run([self._output], {self._input: given})[0])
        except Exception as error:  # onnxruntime's own classes, which can't be named without importing it
            raise ModelFileError(f"{self.identity.name} can't take pictures of {given.shape}: {error}") from None
        return found.reshape(len(found), -1)


class InceptionExtractor(Extractor):
    """Inception v3 with the user's weights: the extractor of published FIDs."""

    def __init__(self, name: str, data: bytes, preparation: Preparation, *, device: str = "cpu") -> None:
        from .inception import InceptionV3

        if preparation.architecture != INCEPTION:
            raise ModelFileError(
                f"{name}.json must say \"architecture\": \"{INCEPTION}\"; other networks can be given as .onnx."
            )
        network = InceptionV3(variant=preparation.variant)
        fill(network, data, Path(name), drop=("fc.", "AuxLogits."))
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device
        self._preparation = preparation
        self.identity = Identity(
            name=name, sha256=files.sha256_bytes(data), layer=f"pool3-{preparation.variant}", dimension=2048,
            resize=preparation.describe(), dtype="float32",
        )  # fmt: skip

    @torch.no_grad()
    def _part(self, pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = self._network(self._preparation(pictures).to(self._device)).cpu().numpy()
        return found


def open_onnx(name: str, data: bytes) -> Any:
    """A session on the CPU for a graph given as bytes (so that it can't name other files).

    Raises:
        MissingExtra: no onnxruntime.
        ModelFileError: not a graph that onnxruntime can run.
    """
    try:
        return open_session(data, threads=torch.get_num_threads())
    except OnnxRuntimeMissing:
        raise MissingExtra("An .onnx file needs onnxruntime: pip install 'shopgen-django[evaluation]'.") from None
    except OnnxUnreadable as error:
        raise ModelFileError(f"{name} is not a graph that onnxruntime can run: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The extractor {path} can't be read: {error.strerror}.") from None


def _read_preparation(path: Path) -> Preparation:
    example = '{"side": 299, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "dimension": 2048}'
    try:
        given = files.read_json(path)
        values = {**given, "mean": tuple(given["mean"]), "std": tuple(given["std"])}
        made = Preparation(**values)
        lengths = {len(made.mean), len(made.std), 1 if made.channels == "grey" else 3}
        if made.channels not in ("rgb", "bgr", "grey") or len(lengths) > 1 or made.side < 8 or made.dimension < 1:
            raise ValueError("a value is out of its range")
    except FileNotFoundError:
        raise ModelFileError(
            f"{path.name} is missing beside the extractor: it says how pictures are prepared, for example {example}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} does not say how pictures are prepared ({error}). Example: {example}.") from None
    return made
