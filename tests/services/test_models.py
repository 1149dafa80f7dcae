"""Trained models: registered with their hash, one active per purpose and category."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.models import ModelVersion, TrainingRun
from shopgen_django.services.models import activate_version, register_version
from shopgen_django.services.training import begin_run
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model.json").write_text(json.dumps({"categories": ["Hat"]}))
    (tmp_path / "dataset.json").write_text("{}")
    return tmp_path


def test_registration_counts_versions_and_keeps_the_hash(folder: Path) -> None:
    first = register_version(folder=folder, name="clothes")
    assert (first.version, first.is_active) == (1, False)
    assert first.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert first.manifest_sha256 == hashlib.sha256(b"{}").hexdigest()
    assert register_version(folder=folder, name="clothes").pk == first.pk, "the same files are one version"
    (folder / "model.safetensors").write_bytes(b"better")
    assert register_version(folder=folder, name="clothes").version == 2


def test_one_is_active_per_purpose_and_category(folder: Path) -> None:
    first = register_version(folder=folder, name="clothes", activate=True)
    other = register_version(folder=folder, name="hats", category="Hat", activate=True)
    second = register_version(folder=folder, name="shirts", activate=True)
    active = set(ModelVersion.objects.filter(is_active=True).values_list("pk", flat=True))
    assert active == {other.pk, second.pk}
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.filter(pk=first.pk).update(is_active=True, activated_at=timezone.now())


def test_changed_or_missing_weights_are_not_activated(folder: Path) -> None:
    version = register_version(folder=folder, name="clothes")
    (folder / "model.safetensors").write_bytes(b"planted")
    with pytest.raises(InvalidState) as caught:
        activate_version(version=version)
    assert caught.value.code == "weights_changed"
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidState) as caught:
        activate_version(version=version)
    assert caught.value.code == "weights_missing"
    version.refresh_from_db()
    assert not version.is_active


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match=r"model\.json is missing"):
        register_version(folder=tmp_path, name="nothing")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InvalidParameters, match=r"model\.safetensors is missing"):
        register_version(folder=tmp_path, name="nothing")


def test_activation_needs_its_permission(folder: Path) -> None:
    version = register_version(folder=folder, name="clothes")
    with pytest.raises(NotAllowed):
        activate_version(version=version, user=make_user("nobody"))
    assert activate_version(version=version, user=make_user("ml", "activate_modelversion")).is_active


def test_figures_of_a_run_that_diverged_are_stored_without_nan(folder: Path) -> None:
    (folder / "model.json").write_text('{"categories": [], "loss": NaN}')
    figures = {"kid": float("nan"), "steps": [1.5, float("inf")]}
    version = register_version(folder=folder, name="clothes", metrics=figures)
    version.refresh_from_db()
    assert version.metrics == {"kid": None, "steps": [1.5, None]}
    assert version.config["loss"] is None


def test_a_description_that_is_no_json_and_a_name_too_long_are_told(folder: Path) -> None:
    with pytest.raises(InvalidParameters, match="name"):
        register_version(folder=folder, name="n" * 101)
    (folder / "model.json").write_text("{")
    with pytest.raises(InvalidParameters, match="JSON"):
        register_version(folder=folder, name="clothes")


def test_a_run_whose_name_fits_no_column_is_told_before_it_trains(tmp_path: Path) -> None:
    info: Any = SimpleNamespace(
        config=SimpleNamespace(as_dict=lambda: {"rate": float("inf")}, images_seen=10, device="cpu"),
        dataset={"count": 1}, folder=tmp_path, resumed_at=0,
    )
    with pytest.raises(InvalidParameters, match="name"):
        begin_run(name="n" * 101, info=info)
    assert not TrainingRun.objects.exists()
    assert begin_run(name="n", info=info).config == {"rate": None}


def test_the_model_itself_says_what_it_is_for(folder):
    """A denoiser becomes the active one of its own purpose and leaves the generator alone."""
    generator = register_version(folder=folder, name="clothes", activate=True)
    other = folder.parent / "restorer"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"weights")
    (other / "model.json").write_text(json.dumps({"architecture": "denoiser", "purpose": "denoise"}))
    restorer = register_version(folder=other, name="clothes", activate=True)
    assert (restorer.purpose, restorer.is_active) == ("denoise", True)
    generator.refresh_from_db()
    assert generator.is_active
