"""What a fine-tuning would do, from small files alone: nothing is loaded, nothing written."""

from __future__ import annotations

from shopgen_django.engines.diffusers.folder import read_header

from .base import Base
from .config import LoraConfig
from .learner import TARGETS
from .photos import read_photos

_PER_NUMBER = 16
"""Bytes for each number of the LoRA: itself, its gradient, and the two of AdamW, in float32."""


def describe(config: LoraConfig, base: Base) -> str:
    """Base, photos, captions, size of the LoRA and the memory of its weights, in a few lines.

    Raises:
        DatasetError, ConfigError: as the run would.
    """
    size = config.size or base.folder.size[0]
    photos = read_photos(config, size=size)
    unet = base.folder.component("unet")
    assert unet is not None
    numbers = lora_numbers(base, config.rank)
    captions = sorted({photo.caption for photo in photos.photos})
    half, whole = unet.numbers * 2 / 1e9, unet.numbers * 4 / 1e9
    lines = [
        f"base:     {base.folder.family.name}, {base.name}, {base.prediction}, licence {base.licence or 'unknown'}, "
        f"SHA-256 {base.sha256[:12]}",
        f"photos:   {len(photos.photos)} at {size} px, {photos.held_out} held out, "
        f"{len(photos.manifest['skipped'])} passed over",
        f"captions: {len(captions)} different, for example: {captions[0]}",
        f"LoRA:     rank {config.rank}, {numbers:,} numbers, a file of {numbers * 4 / 1e6:.1f} MB",
        f"steps:    {config.steps}, each photo about {config.images_seen / max(1, photos.trained_on):.0f} times",
        f"memory:   the network {half:.2f} GB in bf16 or {whole:.2f} GB in fp32, the LoRA "
        f"{numbers * _PER_NUMBER / 1e9:.2f} GB, and the working memory of a step, which --checkpointing makes small",
        f"folder:   {config.output}",
    ]
    return "\n".join(lines)


def lora_numbers(base: Base, rank: int) -> int:
    """How many numbers a LoRA of this rank has, from the header of the network's files."""
    unet = base.folder.component("unet")
    assert unet is not None
    names = tuple(f".{target}.weight" for target in TARGETS)
    shapes = [
        entry["shape"] for path in unet.weights for name, entry in read_header(path).items() if name.endswith(names)
    ]
    return sum(rank * (shape[0] + shape[1]) for shape in shapes)
