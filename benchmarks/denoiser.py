"""What the denoiser gains on photos that it has not seen, next to filters.

    python -m benchmarks.denoiser --source example_project/data/clothing_cc0 --seconds 200

Every twelfth photo is kept back. The network trains on the others for the seconds of processor time, then each of the
kept ones (at the size that was trained on, its busiest square) gets Gaussian noise of 15, 25 and 50 and a camera's
noise (in linear light, gain 0.012, read noise 0.006, colour smeared, JPEG 85). Compared: the noisy photo, the best of
three Gaussian blurs (told which is best for each photo), median 3 x 3, bilateral and non-local means of OpenCV, the
network told the level, and the network left to guess. PSNR in dB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from shopgen_django.ml import noise  # noqa: E402
from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import load_pictures, open_source  # noqa: E402
from shopgen_django.ml.loop import train  # noqa: E402
from shopgen_django.ml.restore import LoadedRestorer, load_restorer  # noqa: E402

KINDS = ("15", "25", "50", "camera")


def split(source: Path, size: int, folder: Path) -> tuple[Path, list[np.ndarray]]:
    """The photos to train on as an archive, and those kept back as ``(h, w, 3)`` uint8."""
    config = TrainConfig(source=str(source), size=size, channels=3, output=str(folder / "data"), fit="crop")
    (folder / "data").mkdir()
    images = np.asarray(load_pictures(open_source(config), config, folder / "data").images).transpose(0, 2, 3, 1)
    kept = np.arange(len(images)) % 12 == 5
    np.savez(folder / "train.npz", images=images[~kept])
    return folder / "train.npz", [_busiest(image) for image in images[kept]]


def _busiest(image: np.ndarray, side: int = 96) -> np.ndarray:
    """Flat studio ground flatters every method: take the square with the most detail."""
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    room = image.shape[0] - side
    places = [(y, x) for y in range(0, room + 1, 8) for x in range(0, room + 1, 8)]
    y, x = max(places, key=lambda place: edges[place[0] : place[0] + side, place[1] : place[1] + side].sum())
    return image[y : y + side, x : x + side]


def make_noisy(image: np.ndarray, kind: str, seed: int) -> np.ndarray:
    clean = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
    grain = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    if kind == "camera":
        made = noise.camera(clean, grain, torch.tensor([0.012]), torch.tensor([0.006]))
        made = noise.jpeg(made, [85])
    else:
        made = noise.gaussian(clean, grain, torch.tensor([float(kind)]))
    return (made[0].permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10.0 * np.log10(255.0**2 / max(1e-9, ((one.astype(float) - other.astype(float)) ** 2).mean())))


def methods(noisy: np.ndarray, clean: np.ndarray, kind: str, restorer: LoadedRestorer) -> dict[str, float]:
    sigma = float(kind) if kind != "camera" else float(np.std(noisy.astype(float) - clean.astype(float)))
    picture = Image.fromarray(noisy)
    told = restorer.restore(picture, sigma=sigma) if kind != "camera" else restorer.restore(picture)
    return {
        "noisy": psnr(noisy, clean),
        "blur, best of 3": max(psnr(cv2.GaussianBlur(noisy, (0, 0), s), clean) for s in (0.6, 0.9, 1.3)),
        "median 3": psnr(cv2.medianBlur(noisy, 3), clean),
        "bilateral": psnr(cv2.bilateralFilter(noisy, 9, 4.0 * sigma, 2.0), clean),
        "nl-means": psnr(cv2.fastNlMeansDenoisingColored(noisy, None, 0.6 * sigma, sigma, 3, 21), clean),
        "network, told": psnr(np.asarray(told), clean),
        "network, guess": psnr(np.asarray(restorer.restore(picture)), clean),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=200.0, help="processor time (default: %(default)s)")
    parser.add_argument("--adversarial", type=float, default=0.0)
    parser.add_argument("--keep", type=Path, help="train into this folder and leave it there; run again to go on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive, kept = split(options.source, options.size, Path(name))
        config = TrainConfig(
            source=str(archive), output=str(options.keep or Path(name) / "run"), architecture="denoiser",
            size=options.size, adversarial=options.adversarial, threads=1, device="cpu", tick_seconds=20.0,
            snapshot_seconds=3600.0,
        )  # fmt: skip
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            config = replace(config, source=str(options.keep / "train.npz"), output=str(options.keep / "run"))
            if not Path(config.source).exists():
                Path(config.source).write_bytes(archive.read_bytes())
        limit = time.process_time() + options.seconds
        result = train(config, should_stop=lambda: time.process_time() >= limit)
        restorer = load_restorer(result.folder)
        print(f"{result.images_seen} pieces seen in {result.seconds:.0f} s; {len(kept)} photos kept back")
        rows: dict[str, dict[str, float]] = {}
        for kind in KINDS:
            each = [methods(make_noisy(image, kind, n), image, kind, restorer) for n, image in enumerate(kept)]
            for method in each[0]:
                rows.setdefault(method, {})[kind] = float(np.mean([one[method] for one in each]))
        print(f"| | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
        for method, values in rows.items():
            print(f"| {method} | {' | '.join(f'{values[kind]:.1f}' for kind in KINDS)} |")
        changed = [psnr(np.asarray(restorer.restore(Image.fromarray(image))), image) for image in kept]
        print(f"clean photos, guess: PSNR {np.mean(changed):.1f} dB at the mean, {min(changed):.1f} at the least")


if __name__ == "__main__":
    main()
