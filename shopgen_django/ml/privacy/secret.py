"""Random numbers that nobody can guess who doesn't hold the secret: for sampling and for noise.

Privacy rests on the noise: who can compute it can take it off again. A run's ``--seed`` is written into its model card,
and a generator seeded with it would give the noise away. So a private run draws 32 bytes from the operating system once
and expands them with SHAKE-256 (FIPS 202) for each step. The numbers are still a pure function of (secret, purpose,
step), which is what makes a resumed run equal to one that was never interrupted, and makes repeating a step free: it
gives the same result again.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import numpy as np
from numpy.typing import NDArray

SECRET_BYTES = 32


def draw_secret() -> bytes:
    """A new secret from the operating system."""
    return os.urandom(SECRET_BYTES)


def stream(secret: bytes, purpose: str, step: int, count: int) -> NDArray[np.float64]:
    """``count`` uniform numbers in 0..1 (1 left out), 53 bits each."""
    key = b"/".join([secret, purpose.encode(), str(step).encode()])
    data = np.frombuffer(hashlib.shake_256(key).digest(8 * count), dtype="<u8")
    return np.asarray((data >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def normals(secret: bytes, purpose: str, step: int, count: int) -> NDArray[np.float64]:
    """``count`` standard normal numbers (Box and Muller 1958, in double precision)."""
    half = (count + 1) // 2
    numbers = stream(secret, purpose, step, 2 * half)
    # 1 - u is in 2**-53 .. 1, so the logarithm is finite; the largest number that can come out is 8.57.
    length = np.sqrt(-2.0 * np.log1p(-numbers[:half]))
    angle = 2.0 * np.pi * numbers[half:]
    return np.concatenate([length * np.cos(angle), length * np.sin(angle)])[:count]


def keyed_digest(secret: bytes, text: str) -> str:
    """A digest that only the holder of the secret can check: a plain one would confirm a guess of the photos."""
    return hmac.new(secret, text.encode(), "sha256").hexdigest()
