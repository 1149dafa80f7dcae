"""Families against each other: the same processor time, the same photos, one judge.

Each arm trains as its user would train it, for the same seconds of one core's time (which other programs can't take
away from one arm alone), and is stopped there. Then its pictures are compared with the real ones on the features of a
classifier that is trained on the real pictures' labels first: KID (lower is better) and coverage (higher is better).

    python -m benchmarks.families --source tests/data/fashion_mnist_900/fmnist900.npz --size 28 --channels 1
    python -m benchmarks.families --source example_project/data/clothing_cc0 --size 64 --arms modern vae
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from benchmarks.equal_time import Judge, _sheet, train_judge  # noqa: E402
from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import load_pictures, open_source  # noqa: E402
from shopgen_django.ml.loop import train  # noqa: E402
from shopgen_django.ml.metrics import kid_interval, manifold  # noqa: E402
from shopgen_django.ml.sample import load_generator  # noqa: E402

ARMS: dict[str, dict[str, Any]] = {
    "modern": {},
    "modern-cold": {"warm_images": 0},
    "ns": {"architecture": "dcgan", "loss": "ns"},
    "minimax": {"architecture": "dcgan", "loss": "minimax"},
    "lsgan": {"architecture": "dcgan", "loss": "lsgan"},
    "hinge": {"architecture": "dcgan", "loss": "hinge"},
    "wgan-gp": {"architecture": "dcgan", "loss": "wgan-gp"},
    "unroll-5": {"architecture": "dcgan", "loss": "ns", "unroll": 5},
    "vae": {"architecture": "vae"},
    "vae-gaussian": {"architecture": "vae", "likelihood": "gaussian"},
    "vae-one-stage": {"architecture": "vae", "second_stage": False},
}


def run(name: str, options: argparse.Namespace, seed: int, folder: Path) -> tuple[np.ndarray, int]:
    """Train one arm; returns pictures ``(n, c, s, s)`` uint8 and how many it has seen."""
    config = TrainConfig(
        source=str(options.source), output=str(folder / f"{name}-{seed}"), size=options.size,
        channels=options.channels, seed=seed, threads=1, device="cpu", metrics="none", tick_seconds=30.0,
        snapshot_seconds=3600.0, **ARMS[name],
    )  # fmt: skip
    began: list[float] = []

    def stop() -> bool:
        began[:] = began or [time.process_time()]
        return time.process_time() - began[0] >= options.seconds

    result = train(config, should_stop=stop)
    generator = load_generator(result.folder)
    names = generator.categories or (None,)
    each = -(-options.count // len(names))
    pictures = [
        np.atleast_3d(np.asarray(picture))
        for number, category in enumerate(names)
        for picture in generator.sample(each, category=category, seed=1000 * seed + number)
    ]
    return np.stack(pictures[: options.count]).transpose(0, 3, 1, 2), result.images_seen


def get_judge(images: np.ndarray, labels: np.ndarray, path: Path | None) -> Judge:
    """The same judge for every arm: from the file when there is one, else trained (a minute) and kept."""
    if path is not None and path.exists():
        judge = Judge(images.shape[1], images.shape[2], int(labels.max()) + 1)
        judge.load_state_dict(load_file(path))
        return judge
    judge = train_judge(images, labels, epochs=15)
    if path is not None:
        save_file(judge.state_dict(), path)
    return judge


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of an arm (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--count", type=int, default=500, help="pictures that are judged (default: %(default)s)")
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(ARMS))
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of samples of each arm")
    parser.add_argument("--judge", type=Path, help="file that keeps the judge, so that arms can be run one by one")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = TrainConfig(
            source=str(options.source), size=options.size, channels=options.channels, output=str(folder / "data")
        )
        (folder / "data").mkdir()
        pictures = load_pictures(open_source(config), config, folder / "data")
        real = np.asarray(pictures.images)
        judge = get_judge(real, np.asarray(pictures.labels), options.judge)
        raw = judge.features(real)
        centre, spread = raw.mean(0), raw.std(0) + 1e-6
        features = (raw - centre) / spread
        print("| arm | seed | pictures seen | KID | +- | coverage | recall |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for seed in options.seeds:
            for arm in options.arms:
                fake, seen = run(arm, options, seed, folder)
                made = (judge.features(fake) - centre) / spread
                kid, error = kid_interval(features, made)
                near = manifold(features, made)
                print(
                    f"| {arm} | {seed} | {seen} | {kid:.4f} | {error:.4f} | {near.coverage:.3f} | {near.recall:.3f} |",
                    flush=True,
                )
                if options.sheets:
                    _sheet(fake, options.sheets / f"{options.source.stem}-{arm}-{seed}.png")


if __name__ == "__main__":
    main()
