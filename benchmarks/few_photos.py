"""Does beginning with the base generator help a shop with few photos? The same processor time with it and without.

    python benchmarks/few_photos.py --source example_project/data/clothing_cc0 --prepare white --sheets sheets/

Each arm gets ``--seconds`` of this process' processor time (two minutes on two cores are 240), so that other work on
the machine doesn't matter; everything else is as a user's run has it. Figures are on the extractor that ships: KID
against all photos with half of its 95 % interval, coverage, density.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import load_pictures, open_source
from shopgen_django.ml.evaluation.extractors import load_extractor
from shopgen_django.ml.loop import train
from shopgen_django.ml.metrics import kid_estimate, manifold
from shopgen_django.ml.sample import load_generator


def drawn(folder: Path, labels: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """``count`` pictures, categories in the proportions of the photos."""
    generator = load_generator(folder)
    names = generator.categories or (None,)
    shares = np.bincount(labels, minlength=len(names)) / len(labels)
    pictures = []
    for number, name in enumerate(names):
        each = max(1, round(count * float(shares[number]))) if generator.categories else count
        pictures += generator.sample(each, category=name, seed=number)
    array = np.stack([np.asarray(p) for p in pictures])
    return array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)


def run(config: TrainConfig, seconds: float) -> tuple[int, float]:
    """Train for so much processor time; returns pictures seen and the time."""
    began = time.process_time()
    result = train(config, should_stop=lambda: time.process_time() - began >= seconds)
    return result.images_seen, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--prepare", default="none")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=480)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--category", nargs="*", default=[])
    parser.add_argument(
        "--arms", nargs="+", default=["base", "scratch"],
        help="values of --init; scratch:6000 is a beginning from nothing with a warm start of 6000 pictures",
    )
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--keep", type=Path, help="where decoded photos are kept between calls")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    extractor = load_extractor()
    with TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        first = TrainConfig(
            source=str(options.source), output=str(folder / "photos"), prepare=options.prepare, size=64,
            threads=options.threads, category=tuple(options.category), snapshot_seconds=3600.0, tick_seconds=3600.0,
        )
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        photos = load_pictures(open_source(first), first, folder / "photos")
        real = extractor.features(np.asarray(photos.images))
        print(f"{len(real)} photos in {len(photos.categories)} categories; {extractor.identity}")
        print("| begins with | seed | pictures seen | processor s | KID | ± | coverage | density |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for seed in range(options.seeds):
            for arm in options.arms:
                output = folder / f"{Path(arm).name}-{seed}"
                output.mkdir(exist_ok=True)
                for cached in ("pictures.npy", "dataset.json"):
                    (output / cached).write_bytes((folder / "photos" / cached).read_bytes())
                init, _colon, warm = arm.partition(":")
                config = replace(first, output=str(output), init=init, seed=seed, images_seen=10_000_000)
                config = replace(config, warm_images=int(warm)) if warm else config
                seen, used = run(config, options.seconds)
                made = drawn(output, photos.labels, options.count)
                features = extractor.features(made)
                kid, near = kid_estimate(real, features), manifold(real, features)
                print(f"| {arm} | {seed} | {seen} | {used:.0f} | {kid.value:.4f} | {(kid.high - kid.low) / 2:.4f} | "
                      f"{near.coverage:.3f} | {near.density:.3f} |", flush=True)
                if options.sheets:
                    options.sheets.mkdir(parents=True, exist_ok=True)
                    newest = sorted((output / "samples").glob("*.png"))[-1]
                    target = options.sheets / f"{options.source.name}-{Path(arm).name}-{seed}.png"
                    target.write_bytes(newest.read_bytes())


if __name__ == "__main__":
    main()
