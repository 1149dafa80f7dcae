"""Put a finished run into the package: ``shopgen_django/weights/cutout.*`` and ``training/cutout/log.csv``.

    python training/cutout/pack.py --run DIR --answers FILE [FILE ...]

The weights of ``best.pt`` are stored as 16-bit floats; the card says what they have learnt from.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from shopgen_django.ml import files
from shopgen_django.ml.cards import FOLDER
from shopgen_django.ml.cutout_net import NAME, SIDE, WIDTHS, CutoutNet

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    kept = torch.load(options.run / "best.pt", weights_only=True)
    network = CutoutNet()
    network.load_state_dict(kept["network"])
    tensors = {
        name: value.half().contiguous() for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }  # fmt: skip
    content = save(tensors)
    log = list(csv.reader((options.run / "log.csv").open()))
    files.write_bytes(FOLDER / f"{NAME}.safetensors", content)
    files.write_json(FOLDER / f"{NAME}.json", {
        "purpose": "cut_out", "sha256": files.sha256_bytes(content), "bytes": len(content), "licence": "CC0-1.0",
        "parameters": sum(value.numel() for value in network.parameters()), "side": SIDE, "widths": list(WIDTHS),
        "teacher": "u2netp (Apache-2.0), its answers alone: no weight of it is in here. It was trained on DUTS, photos "
        "without a clear licence of their own.",
        "data": "Clothing dataset, phone photos and object-free grounds (CC0-1.0); Grocery Store Dataset, Tailwind and "
        "Sylius demo-shop photos (MIT); Saleor product pictures with alpha (BSD-3-Clause). training/cutout/prepare.py, "
        "train.py",
        "photos": sum(len(np.load(path)["names"]) for path in options.answers),
        "seed": 11, "steps": kept["step"], "seconds": int(log[-1][1]),
        "figures": {"overlap with the teacher on held-out photos": round(kept["overlap"], 4)},
    })  # fmt: skip
    with (HERE / "log.csv").open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["step", "seconds", "loss", "overlap"])
        writer.writerows(log)


if __name__ == "__main__":
    main()
