"""Real pictures to compare with, in the model's size."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml import files
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import CACHE_FILE, load_pictures, open_source
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.folder import DATASET

FEWEST = 16


def real_pictures(folder: Path, source: str, card: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """``(n, c, size, size)`` photos: of ``source`` when it is given, else the training run's own, where they lie.

    None for a model that was trained privately: what is measured on its photos, and what is chosen by that, would tell
    of them outside of the promise.

    Raises:
        DatasetError: ``source`` holds no pictures that can be read.
        ConfigError: it holds too few; or the model is private.
    """
    if card.get("privacy"):
        if source:
            raise ConfigError(
                "--photos: this model was trained with differential privacy; comparing with photos would tell more of "
                "them than epsilon allows. Leave it out, the teacher's pictures are compared with."
            )
        return None
    if not source:
        return _of_the_run(folder, card)
    with tempfile.TemporaryDirectory(prefix="compress-photos-") as temporary:
        config = TrainConfig(
            source=source, output=temporary, size=int(card["size"]), channels=int(card["channels"]),
            prepare=str(card.get("prepare") or "none"), allow_bad_files=True,
        )  # fmt: skip
        images = np.array(load_pictures(open_source(config), config, Path(temporary)).images)
    if len(images) < FEWEST:
        raise ConfigError(f"--photos {source} holds {len(images)} pictures; {FEWEST} are needed to compare.")
    return images


def _of_the_run(folder: Path, card: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """The run's decoded pictures, when its manifest vouches for them."""
    path, manifest = folder / CACHE_FILE, folder / DATASET
    if not path.is_file() or not manifest.is_file():
        return None
    try:
        if files.read_json(manifest).get("cache_sha256") != files.sha256_file(path):
            return None
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    shape = (int(card["channels"]), int(card["size"]), int(card["size"]))
    fits = images.ndim == 4 and images.shape[1:] == shape and images.dtype == np.uint8 and len(images) >= FEWEST
    return np.asarray(images) if fits else None
