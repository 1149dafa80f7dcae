"""From a source to an array of 8-bit pictures with a manifest of every file.

Pictures are decoded once, by threads of this process (never by worker processes: the trainer may itself run in a
daemonic worker, which may not have children), and kept as ``pictures.npy`` in the output folder, so that a resumed
run starts at once. Up to :data:`IN_MEMORY_BYTES` they are held in memory, beyond that they are memory-mapped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import files
from .augment import held_out_count
from .config import TrainConfig, base_side
from .cutting import finder_of, network_digest
from .doubtful import LOW_CONFIDENCE, Sieve
from .errors import DatasetError
from .pictures import WHITE, BadPicture, decode, frame_product, on_white, to_square
from .seeding import derive
from .sources import GROUP_COLUMNS, Entry, choose_categories, list_folder

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder

IN_MEMORY_BYTES = 1 << 30
BAD_SHARE = 0.05
MIN_PICTURES = 4
DECODE_AHEAD = 256
CACHE_FILE = "pictures.npy"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What the loop trains on.

    Attributes:
        images: ``(n, channels, size, size)`` uint8, in memory or memory-mapped.
        labels: ``(n,)`` int64 indices into ``categories``; zeros when there are none.
        categories: names, sorted; empty when the pictures have none.
        manifest: what ``dataset.json`` holds.
        held_out: indices of pictures that are never trained on, sorted; none unless something sets them apart.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    categories: tuple[str, ...]
    manifest: dict[str, Any]
    held_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def trained_on(self) -> NDArray[np.int64]:
        """Indices of the pictures that a run shows its networks: all but those held out."""
        return np.setdiff1d(np.arange(len(self.images)), self.held_out, assume_unique=True)

    @property
    def digest(self) -> str:
        """SHA-256 over the files' hashes, labels and preparation: same digest, same training data."""
        return str(self.manifest["digest"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source that has been listed and hashed, not yet decoded."""

    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    ignored: int
    categories: tuple[str, ...]
    size: int
    channels: int
    archive: Path | None = None


def hold_out(pictures: Pictures, config: TrainConfig) -> Pictures:
    """``pictures`` with some set apart where augmentation is to be steered by them; the same ones for the same seed."""
    if config.augment != "adaptive":
        return pictures
    count = held_out_count(len(pictures.images))
    if len(pictures.images) < 2 * count:
        raise DatasetError(
            f"--augment adaptive holds {count} photos out to steer by, and there are only {len(pictures.images)}. "
            "Use --augment fixed."
        )
    drawn = np.random.default_rng(derive(config.seed, "held out")).permutation(len(pictures.images))
    return replace(pictures, held_out=np.sort(drawn[:count]))


def open_source(config: TrainConfig) -> Source:
    """List and hash the pictures that a configuration names, and settle their size and channels.

    Raises:
        DatasetError: nothing to train on, or an unknown category.
    """
    path = Path(config.source)
    if path.suffix.lower() == ".npz":
        return _open_archive(path, config)
    listing = list_folder(path)
    known = Counter(entry.category for entry in listing.entries if entry.category is not None)
    categories = choose_categories(known, config.category)
    entries = listing.entries
    if config.category:
        entries = tuple(entry for entry in entries if entry.category in categories)
    with ThreadPoolExecutor(max_workers=_threads()) as pool:
        hashes = tuple(pool.map(lambda entry: files.sha256_file(entry.path), entries))
    return Source(
        entries=entries,
        hashes=hashes,
        skipped=listing.skipped,
        ignored=listing.ignored,
        categories=categories,
        size=config.size or _default_size(config),
        channels=config.channels or 3,
    )


def _open_archive(path: Path, config: TrainConfig) -> Source:
    images, labels = _read_archive(path)
    groups = _read_groups(path, len(images))
    known = Counter(labels)
    categories = choose_categories(known, config.category)
    entries = tuple(
        Entry(
            path=path,
            name=str(index),
            category=labels[index] if labels else None,
            group=groups[index] if groups else "",
        )
        for index in range(len(images))
        if not config.category or labels[index] in categories
    )
    side, channels = max(images.shape[1:3]), images.shape[3]
    try:
        base_side(side)
    except Exception:
        side = _default_size(config)
    return Source(
        entries=entries, hashes=(files.sha256_file(path),), skipped=(), ignored=0, categories=categories,
        size=config.size or side,
        channels=config.channels or (channels if channels in (1, 3, 4) else 3),
        archive=path,
    )


def _default_size(config: TrainConfig) -> int:
    from .families import get_family  # families know this module

    return get_family(config.architecture).default_size


def _read_archive(path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """``images`` as ``(n, h, w, c)`` uint8 and the labels as words (empty when there are none)."""
    if not path.is_file():
        raise DatasetError(f"There is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "images" not in archive:
                raise DatasetError(f"{path} has no array 'images'; it has: {', '.join(archive.files)}.")
            images = archive["images"]
            labels = [str(v) for v in archive["labels"].tolist()] if "labels" in archive else []
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} can't be read as an .npz of plain arrays: {error}.") from None
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[3] not in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise DatasetError(f"'images' in {path} has the shape {images.shape}; (n, height, width[, 1|3|4]) is needed.")
    if labels and len(labels) != len(images):
        raise DatasetError(f"{path} has {len(images)} images but {len(labels)} labels.")
    if images.dtype != np.uint8:
        scale = 255.0 if images.max(initial=0) <= 1.0 else 1.0
        images = np.clip(np.rint(images * scale), 0, 255).astype(np.uint8)
    return images, labels


def _read_groups(path: Path, count: int) -> list[str]:
    with np.load(path, allow_pickle=False) as archive:
        found = [[str(v) for v in archive[name].tolist()] for name in GROUP_COLUMNS if name in archive]
    groups = found[0] if found else []
    if groups and len(groups) != count:
        raise DatasetError(f"{path} has {count} images but {len(groups)} products.")
    return groups


def load_pictures(source: Source, config: TrainConfig, folder: Path, on_progress: Progress | None = None) -> Pictures:
    """Decode everything, or take the cache in ``folder`` when it was made from the same files in the same way.

    Raises:
        DatasetError: fewer than :data:`MIN_PICTURES` are left, or more than 5 % are bad and the
            configuration doesn't allow it.
    """
    digest = _digest(source, config)
    cached = cached_pictures(folder, digest)
    if cached is not None:
        return cached
    skipped = list(source.skipped)
    kept: list[int] = []
    confidences: dict[int, float] = {}
    sieve = Sieve(leave_out=config.doubtful == "leave-out", alone=config.dp_epsilon is not None)
    temporary = folder / f".{CACHE_FILE}.{os.getpid()}.tmp"
    path = folder / CACHE_FILE
    try:
        with files.disk_errors(path), temporary.open("wb") as handle:
            _write_header(handle, len(source.entries), source)
            for index, (result, confidence) in enumerate(_decode_all(source, config, on_progress)):
                if isinstance(result, BadPicture):
                    skipped.append((source.entries[index].name, str(result)))
                    continue
                confidences |= {} if confidence is None else {index: confidence}
                if sieve.passes(index, source.entries[index].category, result, confidence):
                    handle.write(result.tobytes())
                    kept.append(index)
            for index, picture in sieve.rest():
                handle.write(picture.tobytes())
                kept.append(index)
            _refuse_bad(len(kept), skipped, config, len(sieve.left_out))
            handle.seek(0)
            _write_header(handle, len(kept), source)
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    manifest = _manifest(source, config, kept, skipped, confidences, digest)
    manifest["left_out"] = sieve.listed(source.entries)
    # The manifest goes last: it vouches for the cache.
    files.write_json(folder / "dataset.json", manifest | {"cache_sha256": files.sha256_file(path)})
    made = cached_pictures(folder, digest)
    assert made is not None
    return made


def _write_header(handle: BinaryIO, count: int, source: Source) -> None:
    """The head of an ``.npy`` file. NumPy leaves room in it for any count, so it can be written again afterwards:
    pictures go to the disk one by one and a large set never has to fit into memory."""
    shape = (count, source.channels, source.size, source.size)
    np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _preparation(config: TrainConfig) -> str:
    return config.prepare if config.prepare != "white" else f"white, doubtful {config.doubtful}"


def _digest(source: Source, config: TrainConfig) -> str:
    described = {
        "files": source.hashes,
        "names": [(entry.name, entry.category) for entry in source.entries],
        "skipped": source.skipped,
        "how": [_preparation(config), config.fit, source.size, source.channels],
    }
    if config.prepare == "white":
        described["cutout"] = network_digest(config)
    if config.dp_epsilon is not None and any(entry.group for entry in source.entries):
        described["groups"] = [entry.group for entry in source.entries]
    return files.sha256_bytes(files.canonical_json(described))


def _decode_all(
    source: Source, config: TrainConfig, on_progress: Progress | None
) -> Iterator[tuple[NDArray[np.uint8] | BadPicture, float | None]]:
    """Every entry's picture in order, or why there is none, and how sure the cut-out is."""
    archive = _read_archive(source.archive)[0] if source.archive else None

    finder = finder_of(config)

    def one(entry: Entry) -> tuple[NDArray[np.uint8] | BadPicture, float | None]:
        try:
            return _decode_one(entry, source, config, archive, finder)
        except BadPicture as reason:
            return reason, None

    total = len(source.entries)
    with ThreadPoolExecutor(max_workers=_threads()) as pool:
        for start in range(0, total, DECODE_AHEAD):
            some = source.entries[start : start + DECODE_AHEAD]
            for number, decoded in enumerate(pool.map(one, some), start=start + 1):
                yield decoded
                if on_progress is not None:
                    on_progress(number, total)


def _decode_one(
    entry: Entry,
    source: Source,
    config: TrainConfig,
    archive: NDArray[np.uint8] | None,
    finder: Finder | None,
) -> tuple[NDArray[np.uint8], float | None]:
    from PIL import Image

    if archive is not None:
        array = archive[int(entry.name)]
        image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    else:
        try:
            data = entry.path.read_bytes()
        except OSError as error:
            raise BadPicture(f"can't be read ({error.strerror})") from None
        image = decode(data, near=2 * source.size if config.prepare == "none" else None)
    confidence: float | None = None
    if config.prepare == "white":
        # OpenCV is paid for only by runs that ask for it.
        from shopgen_django.imaging.plain_ground import put_on_ground

        try:
            image, confidence = put_on_ground(on_white(image).convert("RGB"), ground=WHITE, finder=finder)
        except ValueError as error:
            raise BadPicture(str(error)) from None
        image = frame_product(image)
    return to_square(image, size=source.size, channels=source.channels, fit=config.fit), confidence


def _refuse_bad(kept: int, skipped: list[tuple[str, str]], config: TrainConfig, left_out: int) -> None:
    share = len(skipped) / max(1, kept + len(skipped))
    if share > BAD_SHARE and not config.allow_bad_files:
        examples = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise DatasetError(
            f"{len(skipped)} of {kept + len(skipped)} files can't be used ({share:.0%}; up to {BAD_SHARE:.0%} are "
            f"passed over). For example {examples}. Mend or remove them, or add --allow-bad-files."
        )
    if kept < MIN_PICTURES:
        doubtful = f" {left_out} were left out because their cut-out is doubtful: --doubtful keep." if left_out else ""
        raise DatasetError(f"Only {kept} usable pictures; at least {MIN_PICTURES} are needed.{doubtful}")


def _manifest(
    source: Source,
    config: TrainConfig,
    kept: list[int],
    skipped: list[tuple[str, str]],
    confidences: dict[int, float],
    digest: str,
) -> dict[str, Any]:
    counts = Counter(source.entries[i].category for i in kept)
    listed: list[dict[str, Any]] = []
    for index in kept:
        entry = source.entries[index]
        item: dict[str, Any] = {"file": entry.name, "category": entry.category}
        if entry.group:
            item["group"] = entry.group
        if source.archive is None:
            item["sha256"] = source.hashes[index]
        if index in confidences:
            item["confidence"] = round(float(confidences[index]), 4)
        listed.append(item)
    low = sum(confidences[index] < LOW_CONFIDENCE for index in kept if index in confidences)
    manifest: dict[str, Any] = {
        "version": 1,
        "digest": digest,
        "count": len(kept),
        "size": source.size,
        "channels": source.channels,
        "fit": config.fit,
        "prepare": config.prepare,
        "categories": {name: counts[name] for name in source.categories},
        "low_confidence": low,
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
        "ignored": source.ignored,
        "files": listed,
    }
    if source.archive is not None:
        manifest["archive"] = {"file": source.archive.name, "sha256": source.hashes[0]}
    return manifest


def cached_pictures(folder: Path, digest: str) -> Pictures | None:
    """Pictures that a run decoded into ``folder`` before; None when there are none with this digest."""
    path = folder / CACHE_FILE
    try:
        manifest = files.read_json(folder / "dataset.json")
        if manifest.get("digest") != digest or manifest.get("cache_sha256") != files.sha256_file(path):
            return None
        large = path.stat().st_size > IN_MEMORY_BYTES
        images = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    except (OSError, ValueError, AttributeError):
        return None  # no cache, or a damaged one: decode again
    categories = tuple(sorted(manifest["categories"]))
    names = {name: number for number, name in enumerate(categories)}
    labels = np.array([names.get(item["category"] or "", 0) for item in manifest["files"]], dtype=np.int64)
    return Pictures(images=images, labels=labels, categories=categories, manifest=manifest)


def _threads() -> int:
    try:
        return max(1, min(8, len(os.sched_getaffinity(0))))
    except AttributeError:  # macOS, Windows
        return max(1, min(8, os.cpu_count() or 1))
