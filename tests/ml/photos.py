"""Small made photos and small runs for the trainer's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shopgen_django.ml.config import TrainConfig

COLOURS = {"bags": (200, 40, 40), "hats": (40, 60, 200)}


def photo(category: str, number: int, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """A coloured block on a light ground, a little different each time."""
    rng = np.random.default_rng([number, len(category)])
    image = Image.new("RGB", size, (235, 235, 235))
    block = (size[0] // 2 + int(rng.integers(-4, 5)), size[1] // 2 + int(rng.integers(-4, 5)))
    colour = tuple(int(c + rng.integers(-20, 21)) for c in COLOURS[category])
    image.paste(Image.new("RGB", block, colour), ((size[0] - block[0]) // 2, (size[1] - block[1]) // 2))
    return image


def make_folder(folder: Path, count: int = 12) -> Path:
    """``count`` photos, half of them bags, half hats, in a folder per category."""
    for number in range(count):
        category = list(COLOURS)[number % 2]
        path = folder / category / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(category, number).save(path)
    return folder


def tiny(source: Path, output: Path, **values: Any) -> TrainConfig:
    """A configuration whose steps take milliseconds; ticks and snapshots only at the end unless asked for."""
    settings: dict[str, Any] = {
        "size": 16,
        "width": 4,
        "latent": 8,
        "batch_size": 4,
        "images_seen": 40,
        "warm_images": 12,
        "threads": 1,
        "device": "cpu",
        "tick_seconds": 3600.0,
        "snapshot_seconds": 3600.0,
    }
    return TrainConfig(source=str(source), output=str(output), **{**settings, **values})


class StopAfter:
    """Asks a run to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0
