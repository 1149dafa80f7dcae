"""The shop's own LoRAs: fine-tunings that were trained here, under the names that people write into ``loras``.

Operations know no rows: whoever keeps the versions (a service) tells :data:`shelf` which one is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .shelf import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLora:
    """The version of a LoRA that is in use: its file, what that must hash to, the words that it answers to.

    ``locate`` gives the file's path, and fetches it when it lies on another host: only where the work is done.
    """

    name: str
    locate: Callable[[], Path]
    sha256: str
    trigger: str = ""


shelf: Shelf[OwnLora] = Shelf({}, lambda lora: lora.name)


def with_trigger(prompt: str, trigger: str) -> str:
    """``prompt`` with the trigger in front, unless it is in there: without it a LoRA hardly shows."""
    if not trigger or trigger.casefold() in prompt.casefold():
        return prompt
    return f"{trigger}, {prompt}" if prompt else trigger
