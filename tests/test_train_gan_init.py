"""``manage.py train_gan --init NAME``: a new run begins with a model that is registered."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from shopgen_django.exceptions import InvalidState
from shopgen_django.models import ModelVersion
from shopgen_django.services.models import folder_to_begin_with
from tests.ml.photos import make_folder

pytestmark = pytest.mark.django_db

TINY: dict[str, Any] = {
    "size": 16, "batch_size": 4, "images_seen": 8, "warm_images": 8, "threads": 1, "device": "cpu",
    "tick_seconds": 0.0, "snapshot_seconds": 3600.0,
}  # fmt: skip


def train(source: Path, **options: Any) -> None:
    call_command("train_gan", source=str(source), stdout=io.StringIO(), **{**TINY, **options})


def test_an_earlier_model_by_its_name(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "photos")
    train(source, name="spring", output=str(tmp_path / "spring"), width=4, latent=8, init="scratch")
    train(source, name="autumn", output=str(tmp_path / "autumn"), init="spring v1")
    spring, autumn = ModelVersion.objects.order_by("created_at")
    # Width and length of the random vector come from the model that was begun with.
    assert autumn.config["network"] == spring.config["network"]
    assert folder_to_begin_with(name="spring") == Path(spring.folder)
    with pytest.raises(CommandError, match="is where this run writes to"):
        train(source, name="spring", output=str(tmp_path / "spring"), init="spring")
    with pytest.raises(CommandError, match="there is no trained model"):
        train(source, name="winter", output=str(tmp_path / "winter"), init="summer")
    (Path(spring.folder) / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(InvalidState, match="changed"):
        folder_to_begin_with(name="spring")
