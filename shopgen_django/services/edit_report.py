"""A page with every picture before and after, the uncertain ones first; readable without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.template.loader import render_to_string

from shopgen_django.ml.files import write_bytes

from .edit_folder import SMALL, FolderRun
from .edit_items import Item

PAGE = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    name: str
    before: str
    after: tuple[tuple[str, str], ...]
    """(small picture, the result itself) for each result."""
    uncertainty: float | None
    reason: str
    error: str
    seconds: float


def write_report(run: FolderRun, items: Sequence[Item], *, title: str) -> Path:
    """Write ``report.html`` into the output folder; returns its path.

    Failed pictures come first, then those with a reason to look, then by falling uncertainty.
    """
    cards = [_card(run, item) for item in items if item.name in run.lines]
    cards.sort(key=lambda card: (not card.error, not card.reason, -(card.uncertainty or 0.0), card.name))
    seconds = [card.seconds for card in cards if not card.error]
    text = render_to_string(
        "shopgen_django/edit_report.html",
        {
            "title": title, "cards": cards, "failed": sum(bool(card.error) for card in cards),
            "doubtful": sum(bool(card.reason) for card in cards),
            "seconds": sum(seconds) / len(seconds) if seconds else 0.0,
        },
    )
    path = run.output / PAGE
    write_bytes(path, text.encode())
    return path


def _card(run: FolderRun, item: Item) -> _Card:
    line = run.lines[item.name]
    before = f"{SMALL}/before/{item.stem}.webp"
    return _Card(
        name=item.name, before=before if not line.error and (run.output / before).is_file() else "",
        after=tuple((f"{SMALL}/after/{name}.webp", name) for name in line.output.split("|") if name),
        uncertainty=float(line.uncertainty) if line.uncertainty else None, reason=line.reason, error=line.error,
        seconds=float(line.seconds or 0.0),
    )
