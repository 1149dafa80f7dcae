"""Photos of one product with an easy thing to learn, and runs that take seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shopgen_django.engines.lora_training.base import open_base
from shopgen_django.engines.lora_training.config import LoraConfig
from shopgen_django.engines.lora_training.loop import LoraCallbacks, train_lora
from shopgen_django.ml.events import TrainResult

TRIGGER = "zeni mug"


def make_photos(folder: Path, count: int = 6) -> Path:
    """A red block on a light ground, moved a little each time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((40, 48, 3), 235, np.uint8)
        pixels[10:32, 8 + number : 30 + number] = (200, 30, 40 + number)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def config(base: Path, photos: Path, output: Path, **values: Any) -> LoraConfig:
    """32 pixels, a LoRA of rank 4, nothing on the way unless asked for."""
    settings: dict[str, Any] = {
        "name": "mug", "trigger": TRIGGER, "size": 32, "rank": 4, "steps": 6, "batch": 2, "accumulate": 1, "lr": 3e-3,
        "samples": 0, "sample_steps": 2, "guidance": 3.0, "measure_every": 1000, "sample_every": 1000, "threads": 1,
        "device": "cpu", "tick_seconds": 0.0, "snapshot_seconds": 3600.0, "warmup": 2, **values,
    }  # fmt: skip
    return LoraConfig(base=str(base), photos=str(photos), output=str(output), **settings)


def learn(base: Path, photos: Path, output: Path, *, fresh: bool = False, **values: Any) -> TrainResult:
    """A run from start to end; ``callbacks`` among the values listens."""
    callbacks: LoraCallbacks | None = values.pop("callbacks", None)
    opened = open_base(base, noncommercial=False)
    return train_lora(config(base, photos, output, **values), opened, callbacks, fresh=fresh)


KILLED = """
import os, sys
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()
from pathlib import Path
from shopgen_django.engines.lora_training.loop import LoraCallbacks
from tests.lora_training.photos import learn

def tick(now):
    if now.step == int(sys.argv[4]):
        os.kill(os.getpid(), 9)

learn(*map(Path, sys.argv[1:4]), steps=6, snapshot_seconds=0.0, callbacks=LoraCallbacks(on_tick=tick))
"""


def killed_at(base: Path, photos: Path, output: Path, step: int) -> int:
    """Run six steps in a process of its own that is killed (SIGKILL) after ``step``; its exit status."""
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(base), str(photos), str(output), str(step)], capture_output=True, check=False
    ).returncode
