"""Large picture models by the diffusers library. Importing this imports nothing heavy."""

from __future__ import annotations

from .engine import Diffusers

__all__ = ["Diffusers"]
