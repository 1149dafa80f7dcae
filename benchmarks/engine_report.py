"""Writes one section of docs/benchmarks/engine.md, leaving the others as they are."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "engine.md"


def write_section(name: str, text: str) -> None:
    """Replace what stands between the section's two markers."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    document = TARGET.read_text(encoding="utf-8")
    before, _begin, rest = document.partition(begin)
    _old, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{TARGET} has no section {name!r}.")
    TARGET.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")


def machine() -> str:
    """The machine and the versions that the figures belong to."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "django-q2"))
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}; load average when it ended: {load}."
    )
