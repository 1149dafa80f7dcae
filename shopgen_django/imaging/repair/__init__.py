"""Repair of damaged photos: what is damaged, and what probably was there."""

from __future__ import annotations

from .filling import Repaired, fill, prepared_mask
from .finding import find_damage

__all__ = ["Repaired", "fill", "find_damage", "prepared_mask"]
