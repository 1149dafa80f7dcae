"""What differential privacy costs, and whether it keeps its promise: 900 pictures of Fashion-MNIST.

    python -m benchmarks.privacy [--images N] [--epsilons 10 1] [--seeds 1] [--folder DIR] [--samples N]

A third of the pictures trains a shadow. Of the others half, each chosen by a coin, are trained on; the rest are
outsiders. For no privacy and each epsilon:

* utility: a small classifier is taught on samples alone and asked about real outsiders (Acc; 10 % is guessing), and on
  the real members for comparison; KID and coverage on the features that ship;
* privacy: the membership attacks of ``shopgen_django.ml.privacy.membership``, beside the bound.

Figures that compare with photos are the reason why this is a benchmark and no part of a private run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from shopgen_django.ml import loop
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.metrics import kid, manifold
from shopgen_django.ml.privacy.membership import attack, most_advantage, outsiders_for
from shopgen_django.ml.sample import load_generator

SET = Path(__file__).resolve().parents[1] / "tests" / "data" / "fashion_mnist_900" / "fmnist900.npz"
Bytes = NDArray[np.uint8]


def split(folder: Path) -> tuple[Path, Path, Path]:
    """Members and outsiders, a coin for each picture; and third pictures."""
    with np.load(SET) as archive:
        images, labels = archive["images"], archive["labels"]
    rng = np.random.default_rng(0)
    third = rng.permutation(len(images)) < len(images) // 3
    inside = rng.random(len(images)) < 0.5
    paths = []
    for name, chosen in (("members", inside & ~third), ("outsiders", ~inside & ~third), ("third", third)):
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], images=images[chosen], labels=labels[chosen])
    return paths[0], paths[1], paths[2]


class Classifier(nn.Module):
    """Two convolutions and two linear layers; its last hidden layer serves as features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 49, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(pictures))
        return logits


def teach(images: Bytes, labels: NDArray[np.int64], *, steps: int = 600) -> Classifier:
    """A classifier, the same way for every set."""
    torch.manual_seed(0)
    network = Classifier(10)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    rng = np.random.default_rng(0)
    for _step in range(steps):
        some = rng.integers(0, len(images), 64)
        loss = cross_entropy(network(_floats(images[some])), torch.from_numpy(labels[some]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def _floats(images: Bytes) -> torch.Tensor:
    return torch.from_numpy(images).float().div(127.5).sub(1.0).reshape(-1, 1, 28, 28)


@torch.no_grad()
def right(network: Classifier, images: Bytes, labels: NDArray[np.int64]) -> float:
    """Share of pictures called by their right class."""
    return float((network(_floats(images)).argmax(1).numpy() == labels).mean())


@torch.no_grad()
def features(network: Classifier, images: Bytes) -> NDArray[np.float64]:
    """``(n, 64)``"""
    return network.body(_floats(images)).double().numpy()


def samples_of(run: Path, count: int) -> tuple[Bytes, NDArray[np.int64]]:
    """As many samples of each class."""
    model = load_generator(run)
    made, labels = [], []
    for number, name in enumerate(model.categories):
        made += [np.asarray(p) for p in model.sample(count // len(model.categories), category=name)]
        labels += [number] * (count // len(model.categories))
    return np.stack(made), np.array(labels, dtype=np.int64)


def measure(
    members: Path, outsiders: Path, run: Path, shadow: Path | None, count: int, judge: Classifier
) -> dict[str, Any]:
    """Utility and attacks of a finished run."""
    with np.load(outsiders) as archive:
        names = sorted({str(v) for v in archive["labels"].tolist()})
        others = archive["images"].reshape(-1, 28, 28)
        of = np.array([names.index(str(v)) for v in archive["labels"].tolist()], dtype=np.int64)
    made, labels = samples_of(run, count)
    real, fake = features(judge, others), features(judge, made)
    spread = manifold(real, fake[: len(real)])
    findings = attack(run, outsiders_for(run, str(outsiders)), shadow=shadow, samples=count)
    card = load_generator(run).card
    privacy = card.get("privacy")
    return {
        "accuracy": right(teach(made, labels), others, of),
        "kid": kid(real, fake),
        "recall": spread.recall,
        "coverage": spread.coverage,
        "privacy": privacy,
        "bound": most_advantage(privacy["epsilon"], privacy["delta"]) if privacy else None,
        "attacks": {name: asdict(finding) for name, finding in findings.items()},
    }


def main() -> None:
    """Run everything and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=60_000, help="pictures shown in each run")
    parser.add_argument("--epsilons", type=float, nargs="*", default=[10.0, 1.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--architecture", default="dcgan")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="privacy-"))
    folder.mkdir(parents=True, exist_ok=True)
    members, outsiders, third = split(folder)
    with np.load(members) as archive:
        names = sorted({str(v) for v in archive["labels"].tolist()})
        images = archive["images"].reshape(-1, 28, 28)
        labels = np.array([names.index(str(v)) for v in archive["labels"].tolist()], dtype=np.int64)
    judge = teach(images, labels)
    with np.load(outsiders) as archive:
        of = np.array([names.index(str(v)) for v in archive["labels"].tolist()], dtype=np.int64)
        ceiling = right(judge, archive["images"].reshape(-1, 28, 28), of)
    print(json.dumps({"run": "real photos", "accuracy": ceiling, "members": len(images)}), flush=True)
    shared: dict[str, Any] = {
        "size": 28, "channels": 1, "architecture": options.architecture, "width": options.width, "loss": "ns",
        "images_seen": options.images, "tick_seconds": 60.0, "snapshot_seconds": 600.0,
    }  # fmt: skip
    for seed in range(options.seeds):
        shadow = folder / f"shadow-{seed}"
        wishes: list[tuple[str, Path, dict[str, Any]]] = [
            ("shadow", third, {}), ("open", members, {}),
            *((f"epsilon {e:g}", members, {"dp_epsilon": e}) for e in options.epsilons),
        ]  # fmt: skip
        for name, source, extra in wishes:
            run = shadow if name == "shadow" else folder / f"{name.replace(' ', '-')}-{seed}"
            began = time.process_time()
            loop.train(TrainConfig(source=str(source), output=str(run), seed=seed, **shared, **extra), on_note=print)
            if name != "shadow":
                found = measure(members, outsiders, run, shadow, options.samples, judge)
                seconds = round(time.process_time() - began)
                print(json.dumps({"run": name, "seed": seed, "processor_seconds": seconds, **found}), flush=True)


if __name__ == "__main__":
    main()
