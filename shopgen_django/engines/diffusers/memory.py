"""How much memory there is, what a model needs, and giving memory back for real."""

from __future__ import annotations

import ctypes
import gc
import sys
from dataclasses import dataclass
from typing import Any, Literal

Placement = Literal["whole", "parts", "layers"]
"""All weights on the device; one part of the pipeline at a time; one layer at a time (slow, fits nearly anywhere)."""

_ROOM_PER_PIXEL = 2_500
"""Bytes of working memory per pixel of one picture, roughly: activations of UNet and autoencoder at 16 bit."""
_ROOM = 512 << 20
TILE_FROM = 1536 * 1536
"""Pixels of a picture from which the autoencoder works on tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model is laid into memory, decided from what is free."""

    placement: Placement
    tiling: bool
    """The autoencoder works on tiles, whatever the size of a picture."""
    batch: int
    """Pictures at a time."""


def plan_for(*, weights: int, largest: int, free: int, device: str, pixels: int, batch: int) -> Plan:
    """The fastest way that fits. Attention is not sliced: torch's own kernel needs as little memory and is faster.

    Args:
        weights: bytes of all weights in the precision they are used in; ``largest``: of the largest part.
        free: bytes that are free on the device; 0 when unknown (then it is assumed to fit).
        pixels: of one picture.
        batch: pictures at a time that are wished for.
    """
    one = _ROOM + pixels * _ROOM_PER_PIXEL
    if not free or weights + one * max(1, batch) <= free:
        return Plan(placement="whole", tiling=False, batch=max(1, batch))
    if weights + one <= free:
        fits = max(1, (free - weights) // one)
        return Plan(placement="whole", tiling=False, batch=min(batch, int(fits)))
    if not device.startswith("cuda"):
        # Moving parts to and fro gives nothing where weights and work share one memory.
        return Plan(placement="whole", tiling=True, batch=1)
    placement: Placement = "parts" if largest + one <= free else "layers"
    return Plan(placement=placement, tiling=True, batch=1)


def give_back(device: str = "cpu", *, cycles: bool = False) -> None:
    """Return freed memory to the system: the device's cache, the C library's arenas.

    ``cycles``: look for objects that hold each other as well. A released model is in none (measured: no growth without
    it), and the search takes half a second in a process that has these libraries loaded.
    """
    if cycles:
        gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another C library (musl) has nothing to trim
            return


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice: torch has a class for devices, mere words for CPUs."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("can't allocate memory", "out of memory", "not enough memory")
    )
