"""Where pictures come from: a folder in any nesting, with categories from folders or ``labels.csv``, or an ``.npz``."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .errors import DatasetError
from .pictures import EXTENSIONS

LABELS_FILE = "labels.csv"
UNCATEGORISED = "uncategorised"
GROUP_COLUMNS = ("product", "group")
"""Column of ``labels.csv``, or array of an ``.npz``, that says which pictures show the same product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A picture file: its path, its name relative to the source, its category (``None``: there are none).

    ``group`` is what it shares with other pictures of the same product; empty when nobody said.
    """

    path: Path
    name: str
    category: str | None
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a folder holds. ``skipped`` are (name, reason) of files that should have been pictures."""

    entries: tuple[Entry, ...]
    skipped: tuple[tuple[str, str], ...]
    ignored: int


def list_folder(root: Path) -> Listing:
    """Find the pictures of a folder and the category of each.

    A ``labels.csv`` at the top (columns ``file`` and ``label``; ``file`` is a path from the top or a base name; a
    column ``product`` or ``group`` says which pictures show the same product; others are ignored) decides when it is
    there; otherwise the first-level folder does. Hidden names and links to folders
    are not followed. The order is that of the names, on every system.

    Raises:
        DatasetError: no such folder, no pictures, or a ``labels.csv`` that can't be read.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder. Give a folder of pictures or an .npz file.")
    names: list[str] = []
    ignored = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in files:
            if file.startswith("."):
                continue
            if Path(file).suffix.lower() in EXTENSIONS:
                names.append((Path(folder) / file).relative_to(root).as_posix())
            else:
                ignored += 1
    names.sort()
    labels_file = root / LABELS_FILE
    if labels_file.is_file():
        entries, skipped = _by_labels(root, names, read_labels(labels_file), read_groups(labels_file))
    else:
        entries, skipped = _by_folders(root, names), []
    if not entries:
        raise DatasetError(
            f"No pictures found in {root} (looked for {', '.join(sorted(EXTENSIONS))}"
            + (f" that {LABELS_FILE} names)." if labels_file.is_file() else ").")
        )
    return Listing(entries=tuple(entries), skipped=tuple(skipped), ignored=ignored)


def read_labels(path: Path) -> dict[str, str]:
    """``labels.csv`` as {file: label}; commas, semicolons and tabs are understood, and a byte order mark.

    Raises:
        DatasetError: missing columns, or text that isn't UTF-8.
    """
    return _column(path, ("label",))


def read_groups(path: Path) -> dict[str, str]:
    """``labels.csv`` as {file: product}; empty without a column ``product`` or ``group``."""
    return _column(path, GROUP_COLUMNS, needed=False)


def _column(path: Path, names: tuple[str, ...], *, needed: bool = True) -> dict[str, str]:
    """{file: value} of the first of these columns that is there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8 text; save it again as CSV UTF-8.") from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    column = next((columns[name] for name in names if name in columns), None)
    if "file" not in columns or (needed and column is None):
        raise DatasetError(f"{path} needs a first line with the columns file and label; it has: {header.strip()!r}.")
    values: dict[str, str] = {}
    for row in rows if column is not None else ():
        file = (row[columns["file"]] or "").strip().replace("\\", "/").removeprefix("./")
        value = (row[column] or "").strip()
        if file and value:
            values[file] = value
    return values


def _by_labels(
    root: Path, names: list[str], labels: dict[str, str], groups: dict[str, str]
) -> tuple[list[Entry], list[tuple[str, str]]]:
    base_names = Counter(name.rsplit("/", 1)[-1] for name in names)
    used: set[str] = set()
    entries: list[Entry] = []
    skipped: list[tuple[str, str]] = []
    for name in names:
        base = name.rsplit("/", 1)[-1]
        key = name if name in labels else base if base in labels and base_names[base] == 1 else None
        if key is None:
            twice = base in labels and base_names[base] > 1
            reason = f"{LABELS_FILE} gives a base name that several files have" if twice else f"not in {LABELS_FILE}"
            used.update({base} if twice else ())
            skipped.append((name, reason))
            continue
        used.add(key)
        entries.append(Entry(path=root / name, name=name, category=labels[key], group=groups.get(key, "")))
    skipped += [(file, f"in {LABELS_FILE}, but there is no such picture") for file in sorted(set(labels) - used)]
    return entries, skipped


def _by_folders(root: Path, names: list[str]) -> list[Entry]:
    tops = {name.split("/", 1)[0] for name in names if "/" in name}
    if not tops:
        return [Entry(path=root / name, name=name, category=None) for name in names]
    return [
        Entry(path=root / name, name=name, category=name.split("/", 1)[0] if "/" in name else UNCATEGORISED)
        for name in names
    ]


def choose_categories(known: Counter[str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The categories to train on, sorted.

    Raises:
        DatasetError: a wanted one doesn't exist; the message lists those that do.
    """
    missing = sorted(set(wanted) - known.keys())
    if missing:
        have = ", ".join(f"{name} ({count})" for name, count in sorted(known.items())) or "none at all"
        raise DatasetError(f"There is no category {', '.join(map(repr, missing))}. The pictures have: {have}.")
    return tuple(sorted(set(wanted) or known.keys()))
