"""The number behind every random stream, a pure function of a seed and what it is for. Needs no PyTorch."""

from __future__ import annotations

import hashlib


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit number from a seed and what it is for; different parts give independent numbers."""
    text = "/".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
