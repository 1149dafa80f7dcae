"""Trains the feature network that ships: ``shopgen_django/weights/features.safetensors``.

    python training/features/train.py --clothing DIR --groceries DIR --fashion FILE.npz --cache DIR

The three sets (CC0, MIT, MIT; see CARD.md) teach their labels to one body with three heads. A fourth head guesses how
much a picture was blurred and how much noise was added: a network that only names things learns to overlook exactly
what a poor generator does wrong. Clothing is shown as it was photographed and, a third of it, cut out on white as
the trainer's ``--prepare white`` does. The 64 features are scaled in the end to mean 0 and variance 1 over the training
pictures.

Held out: the clothes of one sender in eight, one grocery picture and one Fashion-MNIST picture in eight. Their accuracy
goes into log.jsonl; the weights are those of the last step.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shopgen_django.ml import files
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures, load_pictures, open_source
from shopgen_django.ml.evaluation.network import DIMENSION, LAYER, SIDE, FeatureNetwork, to_input

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[1] / "shopgen_django" / "weights" / "features.safetensors"
DECODED = 72
"""Side at which pictures are kept; training shows a random 64 of it."""
HELD_OUT = 8
WHITE_EVERY = 3
BATCH = 64
LR = 2e-3
MAX_BLUR, MAX_NOISE = 3.0, 0.25
BALANCE = 0.5
"""Exponent of class frequency in sampling: 1 as they come, 0 every class alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One labelled set: pictures ``(n, c, 72, 72)`` uint8, labels, who is held out, and the head that learns it."""

    name: str
    head: int
    share: float
    pictures: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    classes: int


def load(source: Path, cache: Path, *, channels: int, prepare: str = "none") -> Pictures:
    cache.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(source=str(source), size=DECODED if source.is_dir() else 28, channels=channels,
                         prepare=prepare, output=str(cache), allow_bad_files=True)
    return load_pictures(open_source(config), config, cache)


def senders(source: Path) -> dict[str, str]:
    with (source / "labels.csv").open(encoding="utf-8") as handle:
        return {row["file"].rsplit("/", 1)[-1]: row.get("sender_id") or row["file"] for row in csv.DictReader(handle)}


def linked(source: Path, folder: Path, *, nth: int = 1, label: str = "label") -> Path:
    """A folder of links to every ``nth`` labelled picture, with a ``labels.csv`` that the trainer's reader knows."""
    folder.mkdir(parents=True, exist_ok=True)
    with (source / "labels.csv").open(encoding="utf-8") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: row["file"])[::nth]
    where = {path.name: path for path in source.rglob("*.jpg")}
    lines = ["file,label"]
    for row in rows:
        name = row["file"].rsplit("/", 1)[-1]
        lines.append(f"{name},{row[label]}")
        if not (folder / name).exists():
            (folder / name).symlink_to(where[name].resolve())
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def in_eighth(keys: list[str]) -> np.ndarray:
    return np.array([zlib.crc32(key.encode()) % HELD_OUT == 0 for key in keys])


def tasks(options: argparse.Namespace) -> list[Task]:
    found = []
    photos = load(options.clothing, options.cache / "clothing", channels=3)
    who = senders(options.clothing)

    def clothes(name: str, share: float, pictures: Pictures) -> Task:
        names = [item["file"].rsplit("/", 1)[-1] for item in pictures.manifest["files"]]
        numbers = np.array([photos.categories.index(name) for name in pictures.categories])
        return Task(name=name, head=0, share=share, pictures=pictures.images, labels=numbers[pictures.labels],
                    held_out=in_eighth([who[name] for name in names]), classes=len(photos.categories))

    found.append(clothes("clothing", 0.3, photos))
    some = linked(options.clothing, options.cache / "some", nth=WHITE_EVERY)
    found.append(clothes("clothing_white", 0.2, load(some, options.cache / "white", channels=3, prepare="white")))
    sorts = linked(options.groceries, options.cache / "food", label="class")
    food = load(sorts, options.cache / "groceries", channels=3)
    names = [item["file"] for item in food.manifest["files"]]
    found.append(Task(name="groceries", head=1, share=0.3, pictures=food.images, labels=food.labels,
                      held_out=in_eighth(names), classes=len(food.categories)))
    grey = load(options.fashion, options.cache / "fashion", channels=1)
    enlarged = functional.interpolate(torch.from_numpy(np.array(grey.images)).float(), (DECODED, DECODED),
                                      mode="bilinear", align_corners=False)
    found.append(Task(name="fashion_mnist", head=2, share=0.2, pictures=enlarged.round().byte().numpy(),
                      labels=grey.labels, held_out=in_eighth([str(index) for index in range(len(grey.labels))]),
                      classes=10))
    return found


def show(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Random place, scale, mirror, light and (one in five) grey; ``(n, 3, 72, 72)`` in -1..1 -> 64 px."""
    count = len(pictures)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=rng) * (high - low) + low

    zoom = SIDE / DECODED * uniform(0.85, 1.12)
    mirrored = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    turned = uniform(-0.15, 0.15)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * mirrored * turned.cos(), -zoom * turned.sin()
    theta[:, 1, 0], theta[:, 1, 1] = zoom * mirrored * turned.sin(), zoom * turned.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.1, 0.1), uniform(-0.1, 0.1)
    grid = functional.affine_grid(theta, [count, 3, SIDE, SIDE], align_corners=False)
    seen = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    seen = seen * uniform(0.8, 1.2).view(-1, 1, 1, 1) + uniform(-0.15, 0.15).view(-1, 1, 1, 1)
    grey = (uniform(0, 1) < 0.2).view(-1, 1, 1, 1)
    return torch.where(grey, seen.mean(1, keepdim=True), seen).clamp(-1, 1)


def spoil(pictures: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half the pictures blurred, half noisy (independently); also how much, 0..1 each, ``(n, 2)``."""
    count = len(pictures)
    amount = torch.rand(count, 2, generator=rng) * (torch.rand(count, 2, generator=rng) < 0.5)
    reach = 6
    offsets = torch.arange(-reach, reach + 1).float()
    sigma = (amount[:, 0] * MAX_BLUR).clamp_min(1e-3).view(-1, 1)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = functional.pad(pictures, (reach,) * 4, mode="replicate").reshape(1, count * 3, SIDE + 2 * reach, -1)
    flat = functional.conv2d(flat, kernel.view(-1, 1, 1, 2 * reach + 1), groups=count * 3)
    flat = functional.conv2d(flat, kernel.view(-1, 1, 2 * reach + 1, 1), groups=count * 3)
    blurred = flat.view(count, 3, SIDE, SIDE)
    noise = torch.randn(pictures.shape, generator=rng) * 2.0 * MAX_NOISE
    return (blurred + noise * amount[:, 1].view(-1, 1, 1, 1)).clamp(-1, 1), amount


class Trainee(nn.Module):
    """The network with its heads; only the network is kept."""

    def __init__(self, found: list[Task]) -> None:
        super().__init__()
        self.network = FeatureNetwork()
        classes = {task.head: task.classes for task in found}
        self.heads = nn.ModuleList(nn.Linear(DIMENSION, classes[head]) for head in sorted(classes))
        self.spoilt = nn.Linear(DIMENSION, 2)


@torch.no_grad()
def accuracy(trainee: Trainee, task: Task) -> float:
    """Share right on the held-out pictures."""
    trainee.eval()
    logits = trainee.heads[task.head](functional.silu(embed(trainee.network, task.pictures[task.held_out])))
    trainee.train()
    return round(float((logits.argmax(1).numpy() == task.labels[task.held_out]).mean()), 4)


def embed(network: FeatureNetwork, pictures: np.ndarray) -> Tensor:
    margin = (DECODED - SIDE) // 2
    middle = pictures[:, :, margin:-margin, margin:-margin]
    return torch.cat([network(to_input(part)) for part in np.array_split(middle, max(1, len(middle) // 256))])


def picks(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Training indices and the probability of each."""
    indices = np.flatnonzero(~task.held_out)
    counts = np.bincount(task.labels[indices], minlength=task.classes).astype(float)
    weights = counts[task.labels[indices]] ** (BALANCE - 1.0)
    return indices, weights / weights.sum()


def fit(trainee: Trainee, found: list[Task], options: argparse.Namespace, log: list[dict]) -> None:
    optimiser = torch.optim.AdamW(trainee.parameters(), lr=LR, weight_decay=0.05)
    random, rng = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    drawn = [picks(task) for task in found]
    counts = [round(BATCH * task.share) for task in found]
    began = time.process_time()
    for step in range(options.steps):
        done = step / options.steps
        for group in optimiser.param_groups:
            group["lr"] = LR * min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * done))
        parts, labels = [], []
        for task, (indices, weights), count in zip(found, drawn, counts, strict=True):
            chosen = random.choice(indices, count, p=weights)
            parts.append(to_input(np.array(task.pictures[chosen]), DECODED))
            labels.append(torch.from_numpy(task.labels[chosen]))
        seen, amount = spoil(show(torch.cat(parts), rng), rng)
        features = trainee.network(seen.contiguous(memory_format=torch.channels_last))
        active = functional.dropout(functional.silu(features), 0.1)
        losses = [
            task.share * functional.cross_entropy(trainee.heads[task.head](part), target, label_smoothing=0.1)
            for task, part, target in zip(found, active.split(counts), labels, strict=True)
        ]
        spoilt = functional.mse_loss(trainee.spoilt(active), amount)
        loss = sum(losses) + 3.0 * spoilt
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % options.every == 0 or step + 1 == options.steps:
            line = {"step": step + 1, "cpu_seconds": round(time.process_time() - began, 1),
                    "losses": [round(value.item(), 4) for value in losses], "spoilt": round(spoilt.item(), 5),
                    "held_out": {task.name: accuracy(trainee, task) for task in found}}
            log.append(line)
            print(json.dumps(line), flush=True)


@torch.no_grad()
def scale(trainee: Trainee, found: list[Task]) -> None:
    """Fold mean 0 and variance 1 of every feature, over all training pictures, into the last layer."""
    network = trainee.network.eval()
    every = torch.cat([embed(network, task.pictures[~task.held_out]) for task in found])
    centre, spread = every.mean(0), every.std(0).clamp_min(1e-6)
    network.features.bias.copy_((network.features.bias - centre) / spread)
    network.features.weight.div_(spread[:, None])


def save(network: FeatureNetwork, found: list[Task], log: list[dict], options: argparse.Namespace) -> None:
    import safetensors.torch

    # Half precision on disk halves the file; the values are read as float32, so every machine computes with the same.
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    card = {"format": "shopgen-features-1", "layer": LAYER, "dimension": DIMENSION, "side": SIDE, "licence": "MIT"}
    files.write_bytes(WEIGHTS, safetensors.torch.save(tensors, metadata={"values": json.dumps(card)}))
    head = {"seed": options.seed, "steps": options.steps, "batch": BATCH, "torch": str(torch.__version__),
            "python": platform.python_version(), "threads": torch.get_num_threads(),
            "pictures": {task.name: [int((~task.held_out).sum()), int(task.held_out.sum())] for task in found},
            "sha256": files.sha256_file(WEIGHTS), "bytes": WEIGHTS.stat().st_size}
    lines = "".join(json.dumps(line) + "\n" for line in [head, *log])
    files.write_bytes(HERE / "log.jsonl", lines.encode())
    print(json.dumps(head))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clothing", type=Path, required=True, help="folder with labels.csv (file,label,sender_id)")
    parser.add_argument("--groceries", type=Path, required=True, help="folder with labels.csv (file,class)")
    parser.add_argument("--fashion", type=Path, required=True, help=".npz with images and labels")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the decoded pictures")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    log: list[dict] = []
    found = tasks(options)
    trainee = Trainee(found).to(memory_format=torch.channels_last)
    fit(trainee, found, options, log)
    scale(trainee, found)
    save(trainee.network, found, log, options)


if __name__ == "__main__":
    main()
