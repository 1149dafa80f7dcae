"""Step 2 of 3: train the base generator on what prepare.py made. Stops on Ctrl-C or SIGTERM, and goes on where it was.

    python training/base_generator/train.py --prepared PREPARED --output RUN [--images-seen N]

Everything that decides the outcome is fixed here. After each sheet of samples the model is copied to ``RUN-kept``, so
that a person can choose the best one by looking.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.train import set_thread_policy

SETTINGS = TrainConfig(
    size=64,
    channels=3,
    seed=64,
    width=16,
    batch_size=32,
    warm_images=40_000,
    init="scratch",
    augment="adaptive",
    ema_images=20_000,
    images_seen=400_000,
    tick_seconds=30,
    snapshot_seconds=120,
)
KEPT = ("state.safetensors", "state.json", "model.safetensors", "model.json", "config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images-seen", type=int, default=SETTINGS.images_seen)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_thread_policy()
    from shopgen_django.ml.loop import Tick, train
    from shopgen_django.ml.runtime import stop_on_signals

    kept = options.output.with_name(options.output.name + "-kept")

    def keep(sheet: Path, images_seen: int) -> None:
        folder = kept / f"{images_seen:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copy2(options.output / name, folder / name)
        shutil.copy2(sheet, folder / "samples.png")

    def tell(tick: Tick) -> None:
        figures = " ".join(f"{name} {value:.3g}" for name, value in tick.values.items())
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {tick.images_seen} {tick.seconds:.0f} s: {figures}\n")
        sys.stdout.flush()

    config = replace(
        SETTINGS,
        source=str(options.prepared),
        output=str(options.output),
        images_seen=options.images_seen,
        threads=options.threads,
    )
    with stop_on_signals() as stop:
        train(config, on_tick=tell, on_sample=keep, should_stop=stop)


if __name__ == "__main__":
    main()
