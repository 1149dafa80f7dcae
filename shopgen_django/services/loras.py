"""The LoRAs that were trained here, for the operations that lay them over a model."""

from __future__ import annotations

from shopgen_django.jobs.version_files import local_folder
from shopgen_django.models import ModelVersion
from shopgen_django.operations.loras import OwnLora, shelf

from .models import LORA_PURPOSE, LORA_WEIGHTS

MOST = 200
"""Names that are told of."""


def register() -> None:
    """Tell the operations about the shop's LoRAs; called from ``AppConfig.ready``."""
    shelf.find_own = find_lora
    shelf.own_choices = lambda: [
        (name, name) for name in ModelVersion.objects.filter(purpose__startswith=LORA_PURPOSE, is_active=True)
        .order_by("name").values_list("name", flat=True)[:MOST]
    ]


def find_lora(name: str) -> OwnLora | None:
    """The version in use of the LoRA of this name; ``None`` when there is none."""
    version = ModelVersion.objects.filter(purpose=LORA_PURPOSE + name, name=name, is_active=True).first()
    if version is None:
        return None
    return OwnLora(
        name=name, locate=lambda: local_folder(version) / LORA_WEIGHTS, sha256=version.weights_sha256,
        trigger=str(version.config.get("trigger") or ""),
    )
