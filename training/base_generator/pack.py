"""Step 3 of 3: put the chosen model of a run into the package, with what a run that begins with it needs.

    python training/base_generator/pack.py --kept RUN-kept/0123456 --run RUN

Writes ``shopgen_django/weights/base_64/``: ``model.safetensors`` and ``model.json`` (an ordinary model folder),
``companions.safetensors`` (discriminator and describer) and, beside this file, ``photos.csv`` (every photo that was
trained on) and ``log.csv`` (the run's figures). The card, ``README.md``, is ``card.md`` with the figures filled in;
``figures.md``, written by hand after measuring, is its last part.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from train import SETTINGS

from shopgen_django.ml import files
from shopgen_django.ml.families.modern import game_begins
from shopgen_django.ml.folder import from_safetensors, to_safetensors
from shopgen_django.ml.transfer import BASE_FOLDER, COMPANIONS

KEPT_CARD = (
    "architecture", "purpose", "network", "size", "channels", "categories", "images_seen", "seconds", "photos",
    "pictures", "loss", "seed", "versions",
)  # fmt: skip
FIGURES = (
    "images_seen", "seconds", "images_per_second", "redraw", "loss_d", "loss_g", "accuracy_d", "r1", "r2", "augment",
    "overfit_d", "diversity",
)  # fmt: skip


def write_card(card: dict[str, Any], weights: Mapping[str, Tensor], here: Path, *, kilobytes: int) -> None:
    """``README.md`` beside the weights."""
    network = card["network"]
    parameters = sum(value.numel() for name, value in weights.items() if not name.startswith("code"))
    values = {
        **card,
        "width": network["plan"][-1],
        "latent": network["latent"],
        "categories": ", ".join(card["categories"]),
        "parameters": parameters,
        "kilobytes": kilobytes,
        "game_images": max(0, card["images_seen"] - int(game_begins(SETTINGS.warm_images or 0))),
        "figures": (here / "figures.md").read_text(encoding="utf-8").strip(),
    }
    text = (here / "card.md").read_text(encoding="utf-8").format(**values)
    files.write_bytes(BASE_FOLDER / "README.md", text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    options = parser.parse_args()
    weights, _ = from_safetensors((options.kept / "model.safetensors").read_bytes())
    state, _ = from_safetensors((options.kept / "state.safetensors").read_bytes())
    beside = {
        name: value
        for name, value in state.items()
        if name.startswith(("module/discriminator/", "module/describer/"))
    }
    data, companions = to_safetensors(weights, {"format": 1}), to_safetensors(beside, {"format": 1})
    before = files.read_json(options.kept / "model.json")
    card = {
        "format": 1,
        **{name: before[name] for name in KEPT_CARD if name in before},
        "prepare": "white",
        "licence": "CC0-1.0",
        "sha256": files.sha256_bytes(data),
        "bytes": len(data),
        "companions_sha256": files.sha256_bytes(companions),
    }
    BASE_FOLDER.mkdir(parents=True, exist_ok=True)
    files.write_bytes(BASE_FOLDER / "model.safetensors", data)
    files.write_bytes(BASE_FOLDER / COMPANIONS, companions)
    files.write_json(BASE_FOLDER / "model.json", card)
    here = Path(__file__).resolve().parent
    write_card(card, weights, here, kilobytes=round((len(data) + len(companions)) / 1000))
    listed = files.read_json(options.run / "dataset.json")["files"]
    with (here / "photos.csv").open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["file", "label"])
        writer.writerows([Path(item["file"]).with_suffix(".jpg").name, item["category"]] for item in listed)
    lines = [json.loads(line) for line in (options.run / "stats.jsonl").read_text().splitlines()]
    with (here / "log.csv").open("w", newline="") as handle:
        log = csv.DictWriter(handle, FIGURES, extrasaction="ignore", lineterminator="\n")
        log.writeheader()
        log.writerows(line for line in lines if line["images_seen"] <= card["images_seen"])


if __name__ == "__main__":
    main()
