"""The two sides of a comparison: real pictures, and those that a model (or a folder) has."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shopgen_django.ml import files
from shopgen_django.ml.config import TrainConfig, config_from_dict
from shopgen_django.ml.data import CACHE_FILE, Pictures, hold_out, load_pictures, open_source
from shopgen_django.ml.errors import DatasetError, MLError
from shopgen_django.ml.folder import CARD, CONFIG, DATASET
from shopgen_django.ml.sample import LoadedGenerator, Sampler, load_generator

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MOST_REAL = 5_000
"""Real pictures compared with at most: the kernels of more would fill the memory of a small machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Pictures ``(n, c, s, s)`` uint8 with their categories (numbers into ``names``; None when there are none)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def training_pictures(folder: Path) -> Pictures:
    """The pictures that a run's folder was trained on, those held out marked.

    Raises:
        DatasetError: the folder has no (whole) copy of them.
    """
    try:
        manifest = files.read_json(folder / DATASET)
        images = np.load(folder / CACHE_FILE, mmap_mode="r", allow_pickle=False)
        if manifest["cache_sha256"] != files.sha256_file(folder / CACHE_FILE):
            raise ValueError("its SHA-256 differs")
        categories = tuple(sorted(manifest["categories"]))
        numbers = {name: number for number, name in enumerate(categories)}
        labels = np.array([numbers.get(item["category"] or "", 0) for item in manifest["files"]], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder} holds no whole copy of the pictures it was trained on ({error}). Say what to compare with: "
            "--source DIR."
        ) from None
    pictures = Pictures(images=images, labels=labels, categories=categories, manifest=manifest)
    try:
        return hold_out(pictures, config_from_dict(files.read_json(folder / CONFIG)["config"]))
    except (OSError, ValueError, KeyError, TypeError, MLError):
        return pictures  # trained by another version: which were held out can't be told


def given_pictures(source: Path, *, size: int, channels: int, prepare: str, fit: str) -> Pictures:
    """Real pictures from a folder or an ``.npz``, prepared as the model's own were."""
    with tempfile.TemporaryDirectory(prefix="evaluate-") as temporary:
        config = TrainConfig(
            source=str(source), output=temporary, size=size, channels=channels, prepare=prepare, fit=fit,
            allow_bad_files=True,
        )  # fmt: skip
        found = load_pictures(open_source(config), config, Path(temporary))
        return Pictures(
            images=np.array(found.images), labels=found.labels, categories=found.categories, manifest=found.manifest
        )


def real_material(pictures: Pictures) -> Material:
    """The real side, thinned evenly to :data:`MOST_REAL`."""
    chosen = np.unique(np.linspace(0, len(pictures.images) - 1, min(MOST_REAL, len(pictures.images))).round())
    indices = chosen.astype(np.int64)
    return Material(
        images=np.ascontiguousarray(pictures.images[indices]),
        labels=pictures.labels[indices] if len(pictures.categories) > 1 else None,
        names=pictures.categories,
    )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a trained model (and not just pictures)."""
    return (folder / CARD).is_file()


def made_by_model(generator: Sampler, real: Material, *, count: int, seed: int) -> Material:
    """``count`` pictures, the categories in the shares in which the real ones have them.

    A model whose categories aren't the real pictures' draws its own; they then have no labels.
    """
    shared = [name for name in real.names if name in generator.categories]
    if not shared or real.labels is None:
        pictures = generator.sample(count, seed=seed)
        return Material(images=to_array(pictures, generator.channels), labels=None, names=())
    have = Counter(real.names[number] for number in real.labels)
    counts = shares_of([have[name] for name in shared], count)
    made: list[Image.Image] = []
    labels: list[int] = []
    for name, wanted in zip(shared, counts, strict=True):
        if wanted:
            made += generator.sample(wanted, category=name, seed=seed)
            labels += [real.names.index(name)] * wanted
    numbers = np.array(labels, dtype=np.int64)
    return Material(images=to_array(made, generator.channels), labels=numbers, names=real.names)


def made_in_folder(folder: Path, real: Material, *, size: int, channels: int, count: int) -> Material:
    """Pictures that something else has made: at most ``count`` of a folder (or ``.npz``), evenly chosen."""
    found = given_pictures(folder, size=size, channels=channels, prepare="none", fit="pad")
    indices = np.unique(np.linspace(0, len(found.images) - 1, min(count, len(found.images))).round()).astype(np.int64)
    known = {name: number for number, name in enumerate(real.names)}
    fits = len(found.categories) > 1 and set(found.categories) <= known.keys() and real.labels is not None
    numbers = np.array([known.get(name, 0) for name in found.categories] or [0], dtype=np.int64)
    return Material(
        images=found.images[indices], labels=numbers[found.labels[indices]] if fits else None,
        names=real.names if fits else (),
    )  # fmt: skip


def shares_of(counts: Sequence[int], total: int) -> list[int]:
    """``total`` dealt out in proportion to ``counts``, by largest remainder."""
    whole = sum(counts)
    exact = [total * count / whole for count in counts]
    dealt = [int(value) for value in exact]
    for number in sorted(range(len(exact)), key=lambda n: dealt[n] - exact[n])[: total - sum(dealt)]:
        dealt[number] += 1
    return dealt


def to_array(pictures: Sequence[Image.Image], channels: int) -> NDArray[np.uint8]:
    """Pillow pictures of one size as ``(n, c, h, w)``."""
    array = np.stack([np.asarray(picture.convert(MODES[channels]), dtype=np.uint8) for picture in pictures])
    return np.ascontiguousarray(array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2))


def load_model(folder: Path, device: str) -> tuple[Sampler, dict[str, Any]]:
    """A folder's generator and its card."""
    generator = load_generator(folder, device)
    return generator, generator.card


def without_averaging(folder: Path, generator: Sampler) -> Sampler | None:
    """The generator of a run's newest state before averaging; None where the run's state is not at hand."""
    from shopgen_django.ml.folder import RunFolder

    if not isinstance(generator, LoadedGenerator):
        return None
    try:
        state = RunFolder(folder).load_state()
    except (MLError, OSError):
        return None  # a copy of the model without its state, or with half of it: the model itself is whole
    prefix = "module/generator/"
    own = {} if state is None else {
        name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)
    }  # fmt: skip
    network = copy.deepcopy(generator.network)
    if own.keys() != network.state_dict().keys():
        return None
    network.load_state_dict(own)
    return generator.with_network(network)


def ways_between(generator: Sampler, count: int, steps: int, *, seed: int) -> NDArray[np.uint8] | None:
    """``count`` ways between two made pictures, ``(count, steps, c, s, s)``, of the categories in turn.

    None for a model that runs on onnxruntime: its teacher can be asked.
    """
    if not isinstance(generator, LoadedGenerator):
        return None
    names = generator.categories or (None,)
    return np.stack([
        to_array(generator.walk(steps, category=names[n % len(names)], seed=seed + n), generator.channels)
        for n in range(count)
    ])  # fmt: skip
