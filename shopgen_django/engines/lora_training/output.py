"""The result: ``pytorch_lora_weights.safetensors`` as diffusers writes it, and ``model.json`` that says what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shopgen_django.engines.diffusers.install import versions as library_versions
from shopgen_django.engines.diffusers.lora import CARD, FILE
from shopgen_django.ml import files
from shopgen_django.ml.folder import FORMAT, versions

from .base import Base
from .config import KIND, LoraConfig
from .learner import Learner
from .photos import Photos

ADAPTER_METADATA = "lora_adapter_metadata"
"""Where diffusers looks for rank and alpha; without them it takes alpha for the rank."""


def purpose_of(name: str) -> str:
    """The purpose of a LoRA's versions: one of each name is in use at a time, whatever others there are."""
    return f"{KIND}:{name}"


def weights_of(learner: Learner) -> bytes:
    """The LoRA as a file that diffusers, and every tool that reads its format, can load."""
    import safetensors.torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(learner.unet))
    tensors = {f"unet.{name}": value.detach().float().cpu().contiguous().clone() for name, value in layers.items()}
    adapter = learner.unet.peft_config["default"].to_dict()
    told = {
        f"unet.{name}": sorted(value) if isinstance(value, set) else value for name, value in adapter.items()
        if value is None or isinstance(value, (str, int, float, bool, list, set, dict))
    }
    metadata = {"format": "pt", ADAPTER_METADATA: json.dumps(told, sort_keys=True, default=str)}
    return _ordered(safetensors.torch.save(tensors, metadata=metadata))


def _ordered(data: bytes) -> bytes:
    """The same file with its metadata in one order: the library writes it in another one each time, and a hash should
    say whether two LoRAs are the same."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def save_lora(folder: Path, learner: Learner, card: Mapping[str, Any]) -> None:
    """Weights and card, so that a reader finds a matching pair at any moment: while the weights are exchanged the card
    names the hashes of both, the old and the new one."""
    data = weights_of(learner)
    sha256 = files.sha256_bytes(data)
    final = {**card, "sha256": sha256, "bytes": len(data)}
    weights, path = folder / FILE, folder / CARD
    temporary = files.write_beside(weights, data)
    try:
        if weights.exists():
            files.write_json(path, {**final, "sha256": files.sha256_file(weights), "next_sha256": sha256})
        os.replace(temporary, weights)
        files.write_json(path, final)
    finally:
        temporary.unlink(missing_ok=True)


def card_of(
    base: Base, photos: Photos, config: LoraConfig, *, size: int, step: int, seconds: float, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest: base with hash and licence, what was learnt from which photos, how long, how well."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "architecture": KIND,
        "purpose": purpose_of(config.name),
        "base": {
            "name": base.name, "kind": base.folder.kind, "sha256": base.sha256, "licence": base.licence,
            "commercial": base.commercial, "source": base.source, "prediction": base.prediction,
        },
        "licence": base.licence,
        "commercial": base.commercial,
        "trigger": config.trigger,
        "caption": photos.manifest["caption"],
        "rank": config.rank,
        "alpha": config.alpha,
        "size": size,
        "steps": step,
        "images_seen": step * config.step_images,
        "seconds": round(seconds, 1),
        "photos": len(photos.photos),
        "held_out": photos.held_out,
        "pictures": photos.digest,
        "photos_sha256": [photo.sha256 for photo in photos.photos],
        "categories": [],
        "seed": config.seed,
        "metrics": dict(metrics),
        "versions": {**versions(), "libraries": library_versions()},
    }


def metrics_in(folder: Path) -> dict[str, Any]:
    """The figures of the LoRA in a folder."""
    return dict(files.read_json(folder / CARD)["metrics"])
