"""System checks: settings that lose work or contradict one another are told before they do harm."""

from __future__ import annotations


def register_checks() -> None:
    """Connect the checks to Django (called once from AppConfig.ready)."""
