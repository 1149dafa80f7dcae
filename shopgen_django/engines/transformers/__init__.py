"""Models that look at pictures, through the transformers library. Importing this imports nothing heavy."""

from __future__ import annotations

from .segmenting import Segmenter
from .tagging import ZeroShotTags
from .writing import Transformers

__all__ = ["Segmenter", "Transformers", "ZeroShotTags"]
