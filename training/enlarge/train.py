"""Train the network that enlarges: pieces shrunk to half (by area, bicubic, some as JPEGs) and asked for back.

    python training/denoiser/prepare.py … --output pieces.npz      # the same clean pieces as the denoiser's
    OMP_NUM_THREADS=1 python training/enlarge/train.py --pieces pieces.npz --steps 9000

Writes ``shopgen_django/weights/enlarge.safetensors`` with its card and ``training/enlarge/log.csv``. A fixed number of
steps, so that the same seed gives the same network. L1 loss, Adam, rate from 1e-3 down to 1e-5 along a cosine.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from shopgen_django.ml import files
from shopgen_django.ml.cards import FOLDER
from shopgen_django.ml.enlarge import DEPTH, NAME, WIDTH, Doubler, twice
from shopgen_django.ml.folder import to_safetensors

HERE = Path(__file__).resolve().parent
SEED, BATCH, CROP = 11, 16, 64
JPEG_SHARE, QUALITY = 0.3, (70, 96)
BICUBIC_SHARE = 0.4


def shrink(large: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``(n, 3, s, s)`` in 0..1 to half the side: by area or bicubic, 8 bit, some through a JPEG."""
    small = interpolate(large, scale_factor=0.5, mode="area")
    other = interpolate(large, scale_factor=0.5, mode="bicubic", antialias=True)
    chosen = torch.from_numpy(rng.random(len(large)) < BICUBIC_SHARE)
    small = torch.where(chosen[:, None, None, None], other, small).clamp(0, 1).mul(255).round().to(torch.uint8)
    for index in np.flatnonzero(rng.random(len(large)) < JPEG_SHARE):
        with io.BytesIO() as file:
            Image.fromarray(small[index].permute(1, 2, 0).numpy()).save(
                file, "JPEG", quality=int(rng.integers(*QUALITY))
            )
            small[index] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    return small.float() / 255.0


def batch_of(pieces: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    cut = []
    for index in rng.integers(0, len(pieces), BATCH):
        y, x = rng.integers(0, pieces.shape[1] - CROP + 1, 2)
        piece = pieces[index, y : y + CROP, x : x + CROP]
        piece = np.rot90(piece, int(rng.integers(4)))
        cut.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return torch.from_numpy(np.ascontiguousarray(np.stack(cut).transpose(0, 3, 1, 2))).float() / 255.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=9000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pieces = np.load(options.pieces)["images"]
    rng = np.random.default_rng(SEED)
    network = Doubler()
    network.initialise(torch.Generator().manual_seed(SEED))
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    log, began, sums = [], time.process_time(), np.zeros(3)
    for step in range(1, options.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * step / options.steps))
        large = batch_of(pieces, rng)
        small = shrink(large, rng)
        made = network(small)
        loss = (made - large).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            errors = [float((each - large).square().mean()) for each in (made, twice(small))]
        sums += [float(loss), *errors]
        if step % 250 == 0:
            mean = sums / 250
            row = {
                "step": step, "cpu_seconds": round(time.process_time() - began, 1), "loss": round(mean[0], 5),
                "psnr": round(-10 * math.log10(mean[1]), 3), "bicubic": round(-10 * math.log10(mean[2]), 3),
            }
            print(row, flush=True)
            log.append(row)
            sums[:] = 0.0
    data = to_safetensors(dict(network.state_dict()), {"format": 1})
    files.write_bytes(FOLDER / f"{NAME}.safetensors", data)
    files.write_json(FOLDER / f"{NAME}.json", {
        "format": 1, "purpose": "enlarge", "width": WIDTH, "depth": DEPTH, "licence": "CC0-1.0",
        "data": "clothing photos (CC0), groceries and Tailwind demo-shop photos (MIT): training/denoiser/prepare.py",
        "seed": SEED, "steps": options.steps, "cpu_seconds": log[-1]["cpu_seconds"] if log else 0.0,
        "figures": log[-1] if log else {}, "sha256": files.sha256_bytes(data), "bytes": len(data),
    })
    with (HERE / "log.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(log[0]) if log else ["step"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)


if __name__ == "__main__":
    main()
