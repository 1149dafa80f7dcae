"""The photos of a fine-tuning: listed, hashed, looked at, each with its caption; some are set apart.

A folder in any nesting. Beside ``PHOTO.jpg`` a ``PHOTO.txt`` may hold its caption ({trigger} is filled in);
``titles.csv`` (columns ``file`` and ``title``) gives titles for the template; categories come as in ``train_gan``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml.errors import ConfigError, DatasetError
from shopgen_django.ml.files import canonical_json, sha256_bytes
from shopgen_django.ml.pictures import BadPicture, decode, to_square
from shopgen_django.ml.positions import derive
from shopgen_django.ml.sources import list_folder

from .config import LoraConfig, filled

TITLES_FILE = "titles.csv"
MIN_PHOTOS = 5
"""Four to learn from and one to see by whether they are only learnt by heart."""
FEW_PHOTOS = 10
MOST_HELD_OUT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A usable photo. ``size``: its own width and height upright, in pixels."""

    path: Path
    name: str
    sha256: str
    caption: str
    plain: str
    """The caption without the trigger."""
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """All photos of a run, those held out last, and what ``dataset.json`` holds."""

    photos: tuple[Photo, ...]
    held_out: int
    manifest: dict[str, Any]

    @property
    def trained_on(self) -> int:
        return len(self.photos) - self.held_out

    @property
    def digest(self) -> str:
        """SHA-256 over hashes, captions, order and framing: same digest, same training data."""
        return str(self.manifest["digest"])


def default_caption(*, titles: bool) -> str:
    """The template where nobody gave one."""
    return "{trigger}, {title}" if titles else "a photo of {trigger}"


def read_photos(
    config: LoraConfig, *, size: int, on_progress: Callable[[int, int], None] | None = None
) -> Photos:
    """Look at every photo; unreadable ones and doubles are passed over and listed with the reason.

    Args:
        config: ``photos``, ``trigger``, ``caption``, ``fit``, ``hold_out`` and ``seed`` count.
        size: side of the square that they will be brought to, in pixels.
        on_progress: called with (done, all).

    Raises:
        DatasetError: no folder, or fewer than :data:`MIN_PHOTOS` usable photos.
        ConfigError: the template asks for titles or categories that the photos don't have.
    """
    root = Path(config.photos)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}. Give --photos a folder of pictures.")
    listing = list_folder(root)
    titles = _titles(root / TITLES_FILE)
    template = config.caption or default_caption(titles=bool(titles))
    skipped = list(listing.skipped)
    found: list[Photo] = []
    seen: dict[str, str] = {}
    for done, entry in enumerate(listing.entries, start=1):
        try:
            data = entry.path.read_bytes()
            sha256 = sha256_bytes(data)
            if sha256 in seen:
                raise BadPicture(f"the same file as {seen[sha256]}")
            image = decode(data)
        except (BadPicture, OSError) as error:
            skipped.append((entry.name, str(error)))
        else:
            seen[sha256] = entry.name
            words = {"title": titles.get(entry.name, ""), "category": entry.category or ""}
            own = _own_caption(entry.path)
            for name, value in () if own else words.items():
                if "{" + name + "}" in template and not value:
                    raise ConfigError(f"--caption asks for {{{name}}}, and {entry.name} has none. {_WHERE[name]}")
            found.append(Photo(
                path=entry.path, name=entry.name, sha256=sha256, size=image.size,
                caption=filled(own or template, trigger=config.trigger, **words),
                plain=filled(own or template, trigger="", **words),
            ))  # fmt: skip
        if on_progress is not None:
            on_progress(done, len(listing.entries))
    if len(found) < MIN_PHOTOS:
        raise DatasetError(
            f"{len(found)} usable photos in {root}; at least {MIN_PHOTOS} are needed, better 10 to 30 of one product "
            f"from several sides, 50 and more of a style.{_first_reasons(skipped)}"
        )
    return _ordered(found, skipped, config, template, size)


_WHERE = {
    "title": f"Put a {TITLES_FILE} with the columns file and title into the folder, or use --products.",
    "category": "Put photos into folders named after their categories, or add a labels.csv.",
}


def square(photo: Photo, config: LoraConfig, size: int) -> NDArray[np.uint8]:
    """The photo as ``(3, size, size)``. Raises DatasetError when the file is no longer the one that was listed."""
    data = photo.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != photo.sha256:
        raise DatasetError(f"{photo.path} has changed while the run was starting. Start it again.")
    return to_square(decode(data), size=size, channels=3, fit=config.fit)


def time_ids(photo: Photo, config: LoraConfig, size: int) -> tuple[int, int, int, int, int, int]:
    """What Stable Diffusion XL is told of a picture's making: height and width before, top and left of what was cut
    off (at the size trained on), height and width after."""
    width, height = photo.size
    if config.fit != "crop":
        return (height, width, 0, 0, size, size)
    scale = size / min(width, height)
    return (height, width, round((height * scale - size) / 2), round((width * scale - size) / 2), size, size)


def _ordered(
    found: list[Photo], skipped: list[tuple[str, str]], config: LoraConfig, template: str, size: int
) -> Photos:
    """Sorted by content, so that renaming files changes nothing; the held-out ones drawn by the seed, last."""
    found.sort(key=lambda photo: photo.sha256)
    count = config.hold_out or min(MOST_HELD_OUT, max(1, round(len(found) / 10)))
    if len(found) - count < MIN_PHOTOS - 1:
        raise DatasetError(
            f"--hold-out {count} leaves fewer than {MIN_PHOTOS - 1} of {len(found)} photos to learn from."
        )
    order = np.random.default_rng(derive(config.seed, "held out")).permutation(len(found))
    photos = tuple(found[index] for index in (*sorted(order[count:]), *sorted(order[:count])))
    files = [{"file": p.name, "sha256": p.sha256, "caption": p.caption, "size": list(p.size)} for p in photos]
    small = sum(min(photo.size) < size for photo in photos)
    told = [[p.sha256, p.caption, p.plain] for p in photos]
    manifest = {
        "format": 1, "kind": "lora", "count": len(photos), "held_out": count, "size": size, "channels": 3,
        "categories": {}, "caption": template, "trigger": config.trigger, "files": files, "enlarged": small,
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
        "digest": sha256_bytes(canonical_json({"photos": told, "held_out": count, "size": size, "fit": config.fit})),
    }
    return Photos(photos=photos, held_out=count, manifest=manifest)


def _own_caption(path: Path) -> str:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return ""
    try:
        return beside.read_text(encoding="utf-8").strip()[:2000]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"The caption {beside} can't be read as UTF-8: {error}.") from None


def _titles(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = csv.DictReader(handle)
        if not {"file", "title"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{path} needs a first line with the columns file and title.")
        return {row["file"]: " ".join((row["title"] or "").split())[:200] for row in rows if row["file"]}


def _first_reasons(skipped: list[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    return " Passed over: " + "; ".join(f"{name} ({reason})" for name, reason in skipped[:3]) + "."
