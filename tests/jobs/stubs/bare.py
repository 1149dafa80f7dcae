"""The stub's work without shopgen, for django-q2 alone."""

from __future__ import annotations

from .shopgen_operations import note


def work(outputs: int, tag: str) -> None:
    note(f"{tag} start")
    note(f"{tag} end")
