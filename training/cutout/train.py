"""Train the cut-out network that ships on a larger network's answers and on objects whose alpha is known.

    python training/cutout/train.py --answers FILE [FILE ...] --objects DIR --grounds DIR --output DIR [--steps N]

Each picture of a batch is, with these shares: a photo with the answer of the larger network (0.6); the product of such
a photo, where the answer is sure, on another ground (0.2); an object with exact alpha on a ground or before a studio
wall (0.15); a ground with nothing on it (0.05). Of the grounds every third (by name) is left out, of the objects those
of UNSEEN: cut-outs are measured on these. All are cropped, mirrored, stretched, lit, blurred and compressed at random.

The last steps (a seventh) see pictures of SIDE pixels, what comes before smaller ones. Interrupted, it goes on
where it was (``state.pt``): step N draws from N and the seed. The learning rate falls to nothing by the last step.
``log.csv`` gets a line every 200 steps: seconds, loss, and the mean overlap, on photos that are held out, with
the larger network's answer; the weights that have most of it are ``best.pt``.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from shopgen_django.ml.cutout_net import SIDE, CutoutNet, network_input

SEED = 11
BATCH = 16
RATE = 2e-3
HELD_OUT = 15
"""One photo in so many is held out."""
SMALL_SIDE = 128
FINISH = 0.85
UNSEEN = ("drink", "dash-force", "sunnies", "cushion", "mug", "beanie", "neck-warmer", "digital-product")
"""Kinds of objects that are not trained on."""
EVERY = 200


def trained_grounds(folder: Path) -> list[Path]:
    """All but every third, by name."""
    return [path for number, path in enumerate(sorted(folder.rglob("*.jpg"))) if number % 3]


def trained_objects(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.png")) if not any(kind in path.stem for kind in UNSEEN)]


class Pictures:
    def __init__(self, answers: list[Path], objects: Path, grounds: Path) -> None:
        loaded = [np.load(path) for path in answers]
        self.images = np.concatenate([part["images"] for part in loaded])
        self.beliefs = np.concatenate([part["beliefs"] for part in loaded])
        # Held out by name, so that photos may be added to an interrupted run.
        names = [name for part in loaded for name in part["names"].tolist()]
        held = np.array([zlib.crc32(name.encode()) % HELD_OUT == 0 for name in names])
        self.held, self.trained = np.flatnonzero(held), np.flatnonzero(~held)
        sure = np.array([self._sure(belief) for belief in self.beliefs])
        self.sure = np.array([index for index in self.trained if sure[index]])
        self.objects = [self._object(path) for path in trained_objects(objects)]
        self.grounds = [np.asarray(Image.open(path).convert("RGB")) for path in trained_grounds(grounds)]
        print(f"{len(self.trained)} photos, {len(self.sure)} sure, {len(self.objects)} objects, "
              f"{len(self.grounds)} grounds")  # fmt: skip

    @staticmethod
    def _sure(belief: np.ndarray) -> bool:
        share = (belief > 127).mean()
        undecided = ((belief > 50) & (belief < 205)).sum() / max(1, (belief > 127).sum())
        return bool(0.06 < share < 0.75 and undecided < 0.08)

    @staticmethod
    def _object(path: Path) -> np.ndarray:
        rgba = np.array(Image.open(path).convert("RGBA"))
        # Their alpha holds a soft shadow too, which is not product.
        solid = cv2.dilate((rgba[..., 3] >= 100).astype(np.uint8), np.ones((3, 3), np.uint8))
        rgba[..., 3] *= solid
        ys, xs = np.where(rgba[..., 3] > 5)
        return rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]

    def draw(self, rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.random()
        if kind < 0.6:
            index = int(rng.choice(self.trained))
            picture, target = self.images[index], self.beliefs[index]
        elif kind < 0.8:
            index = int(rng.choice(self.sure))
            rgba = np.dstack([self.images[index], self.beliefs[index]])
            picture, target = self.placed(self.boxed(rgba, rng), rng)
        elif kind < 0.95:
            picture, target = self.placed(self.objects[int(rng.integers(len(self.objects)))], rng)
        else:
            picture = self.ground(rng)
            target = np.zeros(picture.shape[:2], np.uint8)
        return varied(picture, target, rng, side)

    @staticmethod
    def boxed(rgba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ys, xs = np.where(rgba[..., 3] > 60)
        part = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].copy()
        # The rim of a product carries the colours of its old ground: it is taken off.
        alpha = cv2.erode(part[..., 3], np.ones((3, 3), np.uint8))
        part[..., 3] = cv2.GaussianBlur(alpha, (3, 3), 0)
        return part

    def ground(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.3:  # a studio wall, lit unevenly
            ramp = np.linspace(0, rng.uniform(-30, 30), 192)[:, None, None]
            wall = rng.uniform(150, 255) + rng.uniform(-12, 12, 3) + ramp + np.zeros((192, 192, 3))
            return np.clip(wall, 0, 255).astype(np.uint8)
        picture = self.grounds[int(rng.integers(len(self.grounds)))]
        return np.asarray(cv2.resize(picture, (192, 192), interpolation=cv2.INTER_AREA))

    def placed(self, rgba: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ground = self.ground(rng).astype(np.float32)
        size = rng.uniform(0.35, 1.0) * 192
        factor = size / max(rgba.shape[:2])
        width, height = max(8, int(rgba.shape[1] * factor)), max(8, int(rgba.shape[0] * factor))
        weighted = rgba.astype(np.float32)
        weighted[..., :3] *= weighted[..., 3:] / 255
        small = cv2.resize(weighted, (width, height), interpolation=cv2.INTER_AREA)
        y, x = int(rng.integers(0, 193 - height)), int(rng.integers(0, 193 - width))
        alpha = np.zeros((192, 192), np.float32)
        alpha[y : y + height, x : x + width] = small[..., 3] / 255
        if rng.random() < 0.6:
            moved = np.float32([[1, 0, rng.uniform(-8, 8)], [0, 1, rng.uniform(0, 10)]])
            shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, moved, (192, 192)), (0, 0), rng.uniform(2, 9))
            ground *= 1 - rng.uniform(0.1, 0.5) * shadow[..., None]
        ground *= 1 - alpha[..., None]
        ground[y : y + height, x : x + width] += small[..., :3]
        return np.clip(ground, 0, 255).astype(np.uint8), np.round(255 * alpha).astype(np.uint8)


def varied(
    picture: np.ndarray, target: np.ndarray, rng: np.random.Generator, side: int
) -> tuple[np.ndarray, np.ndarray]:
    height, width = picture.shape[:2]
    if rng.random() < 0.6:
        share_y, share_x = rng.uniform(0.72, 1, 2)
        high, wide = int(share_y * height), int(share_x * width)
        y, x = int(rng.integers(0, height - high + 1)), int(rng.integers(0, width - wide + 1))
        picture, target = picture[y : y + high, x : x + wide], target[y : y + high, x : x + wide]
    if rng.random() < 0.5:
        angle, scale = rng.uniform(-15, 15), rng.uniform(0.75, 1.05)
        centre = (picture.shape[1] / 2, picture.shape[0] / 2)
        turn = cv2.getRotationMatrix2D(centre, angle, scale)
        size = picture.shape[1], picture.shape[0]
        picture = cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REFLECT)
        target = cv2.warpAffine(target, turn, size, borderMode=cv2.BORDER_REFLECT)
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    target = cv2.resize(target, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        picture, target = picture[:, ::-1], target[:, ::-1]
    if rng.random() < 0.1:
        picture, target = picture[::-1], target[::-1]
    bright = picture.astype(np.float32) / 255
    bright = bright ** rng.uniform(0.7, 1.45) * rng.uniform(0.8, 1.1) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.15:
        bright = np.repeat(bright.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.3:
        bright = cv2.GaussianBlur(bright, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < 0.4:
        bright = bright + rng.normal(0, rng.uniform(0.005, 0.05), bright.shape)
    picture = np.clip(255 * bright, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture), np.ascontiguousarray(target)


def as_batch(pictures: list[np.ndarray], targets: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """``(n, 4, side, side)`` and ``(n, 1, side, side)`` float32."""
    x = torch.from_numpy(np.stack([network_input(picture) for picture in pictures]))
    return x, torch.from_numpy(np.stack(targets))[:, None].float().div_(255)


class Batches(torch.utils.data.Dataset):
    """Batch number ``n`` is the same in every run."""

    def __init__(self, pictures: Pictures, steps: range, total: int) -> None:
        self.pictures, self.steps, self.total = pictures, steps, total

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        cv2.setNumThreads(1)
        step = self.steps[index]
        rng = np.random.default_rng([SEED, step])
        side = SMALL_SIDE if step < FINISH * self.total else SIDE
        return as_batch(*zip(*(self.pictures.draw(rng, side) for _ in range(BATCH)), strict=True))


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy that counts the outline more, and one minus the soft overlap (as Wei et al. 2020, F3Net)."""
    near = torch.nn.functional.avg_pool2d(target, 17, stride=1, padding=8, count_include_pad=False)
    weight = 1 + 5 * (near - target).abs()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    belief = torch.sigmoid(logits)
    both = (weight * belief * target).sum((2, 3))
    either = (weight * (belief + target - belief * target)).sum((2, 3))
    overlap = 1 - (both + 1) / (either + 1)
    return (weight * entropy).sum() / weight.sum() + overlap.mean()


@torch.no_grad()
def judged(network: torch.nn.Module, pictures: Pictures) -> float:
    """Mean overlap with the larger network's answers on the photos that are held out."""
    network.eval()
    overlaps = []
    for start in range(0, len(pictures.held), 16):
        index = pictures.held[start : start + 16]
        x, target = as_batch(
            [cv2.resize(pictures.images[i], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in index],
            [cv2.resize(pictures.beliefs[i], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in index],
        )
        ours, theirs = network(x) > 0, target > 0.5
        overlaps += [float((o & t).sum() / max(1, int((o | t).sum()))) for o, t in zip(ours, theirs, strict=True)]
    return float(np.mean(overlaps))


class Run:
    """A network in training, and what it takes to go on later."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.network = CutoutNet().to(memory_format=torch.channels_last)
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
        )
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=1e-4)
        self.step, self.seconds, self.best = 0, 0.0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            state = torch.load(folder / "state.pt", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]

    def learn(self, x: torch.Tensor, target: torch.Tensor) -> float:
        rate = RATE * min(1.0, (self.step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        loss = loss_of(self.network(x.contiguous(memory_format=torch.channels_last)), target)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return loss.item()

    def note(self, loss: float, pictures: Pictures) -> None:
        overlap = judged(self.averaged, pictures)
        row = [self.step, round(self.seconds), f"{loss:.4f}", f"{overlap:.4f}"]
        print(row, flush=True)
        with (self.folder / "log.csv").open("a", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerow(row)
        if overlap >= self.best:
            self.best = overlap
            self._keep("best.pt", {"network": self.averaged.module.state_dict(), "step": self.step, "overlap": overlap})
        self._keep("state.pt", {
            "network": self.network.state_dict(), "averaged": self.averaged.state_dict(), "step": self.step,
            "optimiser": self.optimiser.state_dict(), "seconds": self.seconds, "best": self.best,
        })  # fmt: skip

    def _keep(self, name: str, content: dict[str, object]) -> None:
        torch.save(content, self.folder / f"{name}.new")
        (self.folder / f"{name}.new").replace(self.folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--grounds", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = Pictures(options.answers, options.objects, options.grounds)
    run = Run(options.output, options.steps)
    batches = torch.utils.data.DataLoader(
        Batches(pictures, range(run.step, options.steps), options.steps), batch_size=None, num_workers=1
    )
    losses: list[float] = []
    began = time.monotonic() - run.seconds
    for x, target in batches:
        losses.append(run.learn(x, target))
        run.seconds = time.monotonic() - began
        if run.step % EVERY == 0 or run.step == options.steps:
            run.note(float(np.mean(losses)), pictures)
            losses = []


if __name__ == "__main__":
    main()
