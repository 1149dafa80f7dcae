"""A page with every picture before and after, the uncertain ones first; readable without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.template.loader import render_to_string

from .edit_folder import FolderRun, Item

PAGE, SMALL = "report.html", "report"
SIDE = 320


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
    """Write ``report.html`` and its small pictures into the output folder; returns the page's path.

    Failed pictures come first, then those with a reason to look, then by falling uncertainty.
    """
    cards = [card for item in items if (card := _card(run, item)) is not None]
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
    path.write_text(text, encoding="utf-8")
    return path


def _card(run: FolderRun, item: Item) -> _Card | None:
    line = run.lines.get(item.name)
    if line is None:
        return None
    small = run.output / SMALL
    after = [
        (_thumbnail(run.output / name, small / "after" / f"{name}.webp"), name)
        for name in line.output.split("|") if name and (run.output / name).is_file()
    ]
    return _Card(
        name=item.name, before=_relative(run, _thumbnail(item.path, small / "before" / f"{item.name}.webp")),
        after=tuple((_relative(run, thumb), name) for thumb, name in after if thumb is not None),
        uncertainty=line.uncertainty, reason=line.reason, error=line.error, seconds=line.seconds,
    )


def _relative(run: FolderRun, path: Path | None) -> str:
    return "" if path is None else path.relative_to(run.output).as_posix()


def _thumbnail(source: Path, target: Path) -> Path | None:
    """A small copy of ``source``; ``None`` when it can't be read."""
    from PIL import Image, ImageOps

    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    try:
        with Image.open(source) as image:
            image.draft("RGB", (SIDE, SIDE))
            upright = ImageOps.exif_transpose(image)
            copy = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    copy.thumbnail((SIDE, SIDE))
    target.parent.mkdir(parents=True, exist_ok=True)
    copy.save(target)
    return target
