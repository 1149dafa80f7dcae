"""Pictures from an ONNX model on onnxruntime. PyTorch is neither needed nor imported.

The folder: ``model.onnx`` (the network), ``model.json`` (its description, with ``"runtime": "onnxruntime"``) and, where
vectors are blended from the codes of photos, ``codes.safetensors``, whose SHA-256 the network's own metadata names: the
hash of ``model.onnx`` vouches for both.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopgen_django.imaging.onnx_session import OnnxRuntimeMissing, open_session
from shopgen_django.ml import files
from shopgen_django.ml.errors import MissingExtra, ModelFileError
from shopgen_django.ml.sample import Sampler, Wish, read_weights

from .latents import LatentRule, rule_from
from .onnx_file import check_onnx

NETWORK = "model.onnx"
CODES = "codes.safetensors"
CODES_KEY = "shopgen.codes_sha256"
LATENTS, LABELS, PICTURES = "latents", "labels", "pictures"


def onnx_session(data: bytes, threads: int = 1) -> Any:
    """A session on the CPU from the bytes of a network; they must have passed :func:`check_onnx`.

    Raises:
        MissingExtra: onnxruntime isn't installed.
    """
    try:
        return open_session(data, threads=threads)
    except OnnxRuntimeMissing:
        raise MissingExtra(
            "This model runs on onnxruntime, which is not installed. Install it: pip install 'shopgen-django[onnx]'"
        ) from None


class OnnxModel(Sampler):
    """A generator exported to ONNX. Get one from :func:`~shopgen_django.ml.sample.load_generator`."""

    def __init__(self, session: Any, rule: LatentRule, card: Mapping[str, Any]) -> None:
        super().__init__(card)
        self._session = session
        self._rule = rule

    def _arrays(self, wishes: Sequence[Wish], truncation: float) -> Iterator[NDArray[np.uint8]]:
        for wish in wishes:  # one at a time: a picture's last bits must not depend on how many are asked for
            vector, chosen = self._rule.draw(
                seed=wish.seed,
                index=wish.index,
                categories=len(self.categories),
                label=wish.label,
                truncation=truncation,
            )
            yield to_bytes(self.pictures(vector[None], np.array([chosen], dtype=np.int64)))[0]

    def pictures(self, latents: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(n, latent)`` and ``(n,)`` -> ``(n, c, size, size)``, about -1..1.

        Raises:
            ModelFileError: the network makes something else than pictures of its description's size.
        """
        given = {LATENTS: latents, LABELS: labels}
        names = {entry.name for entry in self._session.get_inputs()}
        made: NDArray[np.float32] = self._session.run(None, {k: v for k, v in given.items() if k in names})[0]
        if made.shape != (len(latents), self.channels, self.size, self.size) or not np.isfinite(made).all():
            raise ModelFileError(
                f"The network makes {made.shape} or values that are not finite; its description says "
                f"{self.channels} x {self.size} x {self.size}. Export it again."
            )
        return made


def to_bytes(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(n, c, h, w)`` in -1..1 to 8 bit, rounded as PyTorch's side does it."""
    return np.clip(np.rint((pictures + np.float32(1.0)) * np.float32(127.5)), 0, 255).astype(np.uint8)


def load_onnx(
    folder: Path, card: Mapping[str, Any], *, expected_sha256: str | None = None, threads: int | None = None
) -> OnnxModel:
    """Load the ONNX model that ``card`` describes; see :func:`~shopgen_django.ml.sample.load_generator`.

    Raises:
        ModelFileError: hashes that differ, a file that isn't a plain network, codes that don't fit.
        MissingExtra: onnxruntime isn't installed.
    """
    path = folder / NETWORK
    data = read_weights(path, card, expected_sha256)
    contents = check_onnx(data, str(path))
    description = card.get("latents")
    if not isinstance(description, Mapping):
        raise ModelFileError(f"{folder / files.CARD} doesn't say how random vectors are drawn.")
    codes, labels = _codes(folder, contents.metadata.get(CODES_KEY, ""))
    rule = rule_from(description, codes, labels)
    session = _session(data, path, threads or _threads())
    names = {entry.name: entry.shape for entry in session.get_inputs()}
    if not {LATENTS} <= names.keys() <= {LATENTS, LABELS} or names[LATENTS][1:] != [rule.latent]:
        raise ModelFileError(f"{path} doesn't take random vectors of {rule.latent} numbers and a category.")
    return OnnxModel(session, rule, card)


def _session(data: bytes, path: Path, threads: int) -> Any:
    try:
        return onnx_session(data, threads)
    except MissingExtra:
        raise
    except Exception as error:  # onnxruntime has a dozen classes of its own, without a common base
        raise ModelFileError(f"onnxruntime can't load {path}: {str(error)[:300]}") from error


def _threads() -> int:
    """OMP_NUM_THREADS, else the cores that this process may use: what PyTorch would take."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _codes(folder: Path, sha256: str) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None]:
    """The codes of photos and their categories, when the network names their hash."""
    if not sha256:
        return None, None
    import safetensors
    import safetensors.numpy

    path = folder / CODES
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The codes {path} can't be read: {error.strerror}.") from None
    if files.sha256_bytes(data) != sha256:
        raise ModelFileError(f"{path} is not the file that {NETWORK} was exported with (its SHA-256 differs).")
    try:
        tensors = safetensors.numpy.load(data)
        return tensors["codes"], tensors["labels"]
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path} doesn't hold codes of photos: {error}.") from None


def psnr(made: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB over all pictures together, clamped to -1..1 as they will be shown."""
    error = float(np.square(np.clip(made, -1, 1) - np.clip(wanted, -1, 1), dtype=np.float64).mean())
    return 10.0 * math.log10(4.0 / max(error, 1e-12))
