"""Large models behind a server that speaks OpenAI's shapes. Importing this imports nothing heavy."""

from __future__ import annotations

from .engine import OpenAICompatible
from .writing import OpenAIVision

__all__ = ["OpenAICompatible", "OpenAIVision"]
