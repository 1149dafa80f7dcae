"""Equal wall-clock: our default trainer against what a developer would take from a tutorial.

Each arm trains for the same minutes on the same pictures with the same threads, one after the other, for several
seeds; then 1,000 pictures of each are compared with the real ones: KID (lower is better) and coverage (higher is
better) on the features of one classifier that this script trains on the real pictures' labels first (all its real
pictures; the same network judges every arm).

    python benchmarks/equal_time.py --source tests/data/fashion_mnist_900/fmnist900.npz --size 28 --channels 1
    python benchmarks/equal_time.py --source example_project/data/clothing_cc0 --size 64

On a machine that does other work as well, ``--clock cpu --threads 1`` gives every arm the same processor time instead
(``--minutes 6`` is what three minutes on two cores hold), which other programs can't take away from one arm alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import load_pictures, open_source
from shopgen_django.ml.evaluation.material import Material, made_by_model, real_material
from shopgen_django.ml.metrics import kid_interval, manifold
from shopgen_django.ml.sample import load_generator

HERE = Path(__file__).resolve().parent
FEATURES = 64


class Judge(nn.Module):
    """Small classifier; its 64-number layer before the last are the features."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, side = channels, size
        for wide in (32, 64, 128, 128):
            layers += [nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
            if side > 7:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            width = wide
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(width * 4, FEATURES))
        self.head = nn.Linear(FEATURES, max(2, classes))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.body(pictures)))

    @torch.no_grad()
    def features(self, pictures: np.ndarray) -> np.ndarray:
        """``(n, c, s, s)`` uint8 -> ``(n, 64)`` float64."""
        self.eval()
        return torch.cat([self.body(_scaled(part)) for part in np.array_split(pictures, 20)]).double().numpy()


def _scaled(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).float().div_(127.5).sub_(1.0)


def train_judge(images: np.ndarray, labels: np.ndarray, epochs: int = 40) -> Judge:
    """The same judge for every arm: fixed seed, mirrored and shifted pictures."""
    torch.manual_seed(0)
    judge = Judge(images.shape[1], images.shape[2], int(labels.max()) + 1)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=1e-2)
    data, target = _scaled(images), torch.from_numpy(labels)
    for _epoch in range(epochs):
        judge.train()
        for picked in torch.randperm(len(data)).split(64):
            if len(picked) < 2:
                continue
            batch = data[picked]
            if torch.rand(()) < 0.5:
                batch = batch.flip(3)
            shift = [int(v) for v in torch.randint(-2, 3, (2,))]
            loss = functional.cross_entropy(judge(batch.roll(shift, (2, 3))), target[picked])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return judge


CPU_CLOCK = """
import sys, time
from shopgen_django.ml import loop, train
run, limit = loop.train, 60.0 * float(sys.argv.pop(1))
def bounded(config, *, on_start, should_stop, **others):
    began = []
    def start(info):
        began.append(time.process_time())
        on_start(info)
    def stop():
        return time.process_time() - began[0] >= limit or should_stop()
    return run(config, on_start=start, should_stop=stop, **others)
loop.train = bounded
sys.exit(train.main(sys.argv[1:]))
"""
"""The trainer's command, stopped after so many minutes of processor time."""


def _trainer(options: argparse.Namespace) -> list[str]:
    if options.clock == "wall":
        return [sys.executable, "-m", "shopgen_django.ml.train", "--minutes", str(options.minutes)]
    return [sys.executable, "-c", CPU_CLOCK, str(options.minutes), "--images-seen", "100000000"]


def run_ours(
    options: argparse.Namespace, seed: int, folder: Path, real: Material
) -> tuple[np.ndarray, int]:
    """Our trainer as its user calls it; returns samples, in the real pictures' shares of each category, and pictures
    seen."""
    output = folder / f"ours-{seed}"
    command = [
        *_trainer(options), "--source", str(options.source), "--output", str(output),
        "--seed", str(seed), "--size", str(options.size),
        "--channels", str(options.channels), "--threads", str(options.threads), *options.ours,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    generator = load_generator(output)
    array = made_by_model(generator, real, count=options.count, seed=1000 * seed).images
    lines = (output / "stats.jsonl").read_text().splitlines()
    return array, int(json.loads(lines[-1])["images_seen"])


def run_baseline(
    options: argparse.Namespace, name: str, seed: int, images: Path, folder: Path
) -> tuple[np.ndarray, int]:
    output = folder / f"{name}-{seed}.npy"
    done = subprocess.run(
        [
            sys.executable, str(HERE / "baselines.py"), name, "--images", str(images),
            "--minutes", str(options.minutes), "--seed", str(seed), "--count", str(options.count),
            "--threads", str(options.threads), "--clock", options.clock,
            "--output", str(output),
        ],
        check=True, capture_output=True, text=True,
    )
    return np.load(output), int(done.stdout.split(":")[1].split()[0])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what --minutes counts")
    parser.add_argument("--arms", nargs="+", default=["ours", "dcgan", "dense"])
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="more options for our trainer (last)")
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of samples of each arm")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = TrainConfig(
            source=str(options.source), size=options.size, channels=options.channels, output=str(folder / "data")
        )
        (folder / "data").mkdir()
        pictures = load_pictures(open_source(config), config, folder / "data")
        real, labels = np.asarray(pictures.images), np.asarray(pictures.labels)
        np.save(folder / "real.npy", real)
        judge = train_judge(real, labels)
        accuracy = float((judge.eval()(_scaled(real)).argmax(1).numpy() == labels).mean())
        raw = judge.features(real)
        # Each feature in units of its spread over the real pictures, so that no single one rules the kernel.
        centre, spread_of = raw.mean(0), raw.std(0) + 1e-6
        features = (raw - centre) / spread_of
        half = np.random.default_rng(0).permutation(len(features))
        floor = kid_interval(features[half[::2]], features[half[1::2]])
        print(f"{len(real)} real pictures {real.shape[1:]}; judge's accuracy on them {accuracy:.3f}; "
              f"KID of real half against real half {floor[0]:.4f} +- {floor[1]:.4f}", flush=True)
        print("| arm | seed | pictures seen | KID | +- | coverage | density | recall |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for arm in options.arms:
                if arm == "ours":
                    fake, seen = run_ours(options, seed, folder, real_material(pictures))
                else:
                    fake, seen = run_baseline(options, arm, seed, folder / "real.npy", folder)
                made = (judge.features(fake) - centre) / spread_of
                mean, spread = kid_interval(features, made)
                near = manifold(features, made)
                print(f"| {arm} | {seed} | {seen} | {mean:.4f} | {spread:.4f} | {near.coverage:.3f} | "
                      f"{near.density:.3f} | {near.recall:.3f} |", flush=True)
                if options.sheets:
                    _sheet(fake, options.sheets / f"{options.source.stem}-{arm}-{seed}.png")


def _sheet(pictures: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picked = pictures[np.random.default_rng(0).choice(len(pictures), 64, replace=False)]
    _count, channels, side, _ = picked.shape
    grid = picked.reshape(8, 8, channels, side, side).transpose(0, 3, 1, 4, 2).reshape(8 * side, 8 * side, channels)
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)


if __name__ == "__main__":
    main()
