"""The small networks that ship in the package: ``weights/NAME.safetensors`` with its card (:mod:`.cards`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import files
from .cards import FOLDER, card_of
from .errors import MLError, ModelFileError
from .folder import from_safetensors


def load_shipped(network: torch.nn.Module, name: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """Fill ``network`` with the weights ``name``, compared with the SHA-256 of their card; eval mode, no gradients.

    Returns the card. Raises ModelFileError: missing, changed, or not the weights of this network.
    """
    card, path = card_of(name, folder=folder), folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}. Install the package again.") from None
    if files.sha256_bytes(data) != card["sha256"]:
        raise ModelFileError(f"{path} is not the file that its card names. Install the package again.")
    fill(network, data, path)
    network.eval().requires_grad_(False)
    return card


def fill(network: torch.nn.Module, data: bytes, path: Path, *, drop: tuple[str, ...] = ()) -> None:
    """Fill a network with exactly its tensors, as float32.

    Raises:
        ModelFileError: names, shapes or values don't fit.
    """
    try:
        tensors, _values = from_safetensors(data)
    except MLError as error:
        raise ModelFileError(f"{path}: {error}") from None
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    kept = {
        name: value.float() for name, value in tensors.items()
        if not name.startswith(drop or ("\0",)) and not name.endswith("num_batches_tracked")
    }  # fmt: skip
    odd = sorted(kept.keys() ^ wanted.keys())
    odd += [name for name in kept.keys() & wanted.keys() if kept[name].shape != wanted[name].shape]
    if odd:
        raise ModelFileError(f"{path} doesn't fit its network: {', '.join(odd[:3])} missing, too many or misshapen.")
    if not all(bool(torch.isfinite(value).all()) for value in kept.values()):
        raise ModelFileError(f"{path} holds values that are not finite numbers.")
    network.load_state_dict(kept, strict=False)
