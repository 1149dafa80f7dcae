"""Put a finished run into the package: ``shopgen_django/weights/denoiser/`` and ``training/denoiser/log.csv``.

    python -m shopgen_django.ml.train --architecture denoiser --source pieces.npz --size 128 --channels 3 --seed 5 \\
        --threads 1 --minutes 50 --output run
    python training/denoiser/finish.py --run run --pieces pieces.npz --output finished
    python training/denoiser/pack.py --run finished
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from shopgen_django.engines.denoise import SHIPPED
from shopgen_django.ml import files

KEPT = (
    "format", "architecture", "purpose", "network", "size", "channels", "categories", "images_seen", "seconds",
    "photos", "pictures", "prepare", "loss", "seed", "finish", "versions", "sha256", "bytes",
)  # fmt: skip
FIGURES = ("images_seen", "seconds", "loss_g", "psnr", "psnr_gain", "level_off", "images_per_second")
EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    options = parser.parse_args()
    card = files.read_json(options.run / "model.json")
    SHIPPED.mkdir(parents=True, exist_ok=True)
    files.write_bytes(SHIPPED / "model.safetensors", (options.run / "model.safetensors").read_bytes())
    files.write_json(SHIPPED / "model.json", {
        **{name: card[name] for name in KEPT if name in card}, "licence": "CC0-1.0",
        "data": "clothing photos (CC0), groceries and Tailwind demo-shop photos (MIT): training/denoiser/prepare.py",
    })
    lines = [json.loads(line) for line in (options.run / "stats.jsonl").read_text().splitlines()]
    with (Path(__file__).resolve().parent / "log.csv").open("w", newline="") as handle:
        log = csv.DictWriter(handle, FIGURES, extrasaction="ignore", lineterminator="\n")
        log.writeheader()
        log.writerows(line for number, line in enumerate(lines) if number % EVERY == 0 or "loss_g" not in line)


if __name__ == "__main__":
    main()
