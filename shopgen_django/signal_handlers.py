"""What happens when the shop's own rows change."""

from __future__ import annotations


def register() -> None:
    """Connect the handlers (called once from AppConfig.ready)."""
