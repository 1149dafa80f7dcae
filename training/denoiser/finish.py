"""The last steps of a denoiser's run, at a rate that falls to nothing: what a constant rate leaves shaking settles.

    python training/denoiser/finish.py --run run --pieces pieces.npz --steps 3000 --output finished

Begins with the run's averaged weights, goes on with the same loss, noise and pieces, rate from 4e-4 to 1e-6 along a
cosine, and writes a model folder that ``pack.py`` takes. The seed decides every number that is drawn. ``--every`` saves
in between; a run that was stopped begins anew. A second round on the result wants another ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from shopgen_django.ml import files
from shopgen_django.ml.families.base import Batch
from shopgen_django.ml.families.denoiser import DenoiserLearner
from shopgen_django.ml.families.restorer import Restorer
from shopgen_django.ml.folder import to_safetensors
from shopgen_django.ml.noise import KINDS
from shopgen_django.ml.sample import load_network
from shopgen_django.ml.seeding import generator

BATCH = 8
RATE, LAST_RATE = 4e-4, 1e-6


def save(folder: Path, network: Restorer, card: dict[str, object]) -> None:
    data = to_safetensors({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, {})
    files.write_bytes(folder / "model.safetensors", data)
    files.write_json(folder / "model.json", {**card, "sha256": files.sha256_bytes(data), "bytes": len(data)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pieces", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--every", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, loaded, _device = load_network(options.run)
    assert isinstance(network, Restorer)
    network.requires_grad_(True).train()
    card = dict(loaded)
    rounds = [*card.get("finish", []), {"steps": options.steps, "rate": RATE, "seed": options.seed}]
    card |= {"finish": rounds, "metrics": {}}
    pieces = np.load(options.pieces)["images"]
    learner = DenoiserLearner(
        network, None, loss="charbonnier", kinds=KINDS, adversarial=0.0, lr=RATE, bf16=False
    )  # fmt: skip
    (optimiser,) = learner.optimisers().values()
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.run / "stats.jsonl", options.output / "stats.jsonl")
    before, began = int(card["images_seen"]), time.monotonic()
    seconds = float(card["seconds"])
    gains: list[float] = []
    for step in range(1, options.steps + 1):
        share = (step - 1) / options.steps
        for group in optimiser.param_groups:
            group["lr"] = LAST_RATE + 0.5 * (RATE - LAST_RATE) * (1 + math.cos(math.pi * share))
        chosen = np.random.default_rng((options.seed, step)).choice(len(pieces), BATCH, replace=False)
        real = torch.from_numpy(pieces[chosen]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0).contiguous()
        labels = torch.zeros(BATCH, dtype=torch.int64)
        figures = learner.step(Batch(
            real=real, labels=labels, real_again=real, labels_again=labels, rng=generator(options.seed, "finish", step),
            images_seen=before + (step - 1) * BATCH,
        ))  # fmt: skip
        gains.append(float(figures["psnr_gain"]))
        if step % options.every == 0 or step == options.steps:
            card |= {"images_seen": before + step * BATCH, "seconds": seconds + time.monotonic() - began}
            save(options.output, network, card)
            line = {"images_seen": card["images_seen"], "seconds": round(float(card["seconds"]), 1),
                    "psnr_gain": round(float(np.mean(gains[-options.every :])), 3)}  # fmt: skip
            with (options.output / "stats.jsonl").open("a") as handle:
                handle.write(json.dumps(line) + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
