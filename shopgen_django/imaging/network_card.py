"""What lies in a network's folder, read without what runs it: web processes look here too, so not even numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["CARD", "NETWORK", "NetworkError", "read_card"]

NETWORK, CARD = "model.onnx", "model.json"


class NetworkError(ValueError):
    """A network's folder can't be used; the message says why and what to do."""


def read_card(folder: Path, part: str = "") -> dict[str, Any]:
    """The content of ``model.json``, which must have ``part``. Raises :class:`NetworkError`."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworkError(f"There is no network in {folder} ({path.name} can't be read: {error.strerror}).") from None
    except ValueError as error:
        raise NetworkError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(card, dict) or "sha256" not in card:
        raise NetworkError(f"{path} does not describe a network: it needs sha256.")
    if part and not isinstance(card.get(part), dict):
        raise NetworkError(
            f"{path} does not describe a network for this: it needs {part}. It is for "
            f"{card.get('purpose') or 'nothing that it says'}."
        )
    return card
