"""Cards of the small networks that ship: ``weights/NAME.json`` beside ``weights/NAME.safetensors``. Imports no PyTorch.

A card says at least ``sha256`` of the weights, ``licence``, ``data`` (the sets and their licences), ``seed``, ``steps``
and ``figures``; ``training/NAME/`` holds the script and the log that made them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import files
from .errors import ModelFileError

FOLDER = Path(__file__).resolve().parents[1] / "weights"


def card_of(name: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """The card of a network. Raises ModelFileError when it is missing or says no ``sha256``."""
    try:
        card = files.read_json(folder / f"{name}.json")
        str(card["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{name}.json is no card of a network that ships ({error}). Install the package again.") \
            from None
    return dict(card)


def shipped_identity(name: str) -> str:
    """"shipped" and the beginning of the weights' hash, for ``Engine.identity``. Raises ModelFileError."""
    return f"shipped {str(card_of(name)['sha256'])[:12]}"
