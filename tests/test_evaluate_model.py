"""``manage.py evaluate_model``: by name, by folder, kept on the version."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from shopgen_django.ml.loop import train
from shopgen_django.models import ModelVersion
from shopgen_django.services.evaluations import evaluation_of
from shopgen_django.services.models import register_version
from tests.ml.photos import make_folder, tiny

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny(make_folder(tmp_path_factory.mktemp("photos"), 32), folder / "run"))
    return folder / "run"


def run(model: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("evaluate_model", model, count=16, threads=1, stdout=out, **options)
    return out.getvalue()


def test_by_name_the_figures_are_kept_on_the_version(model: Path) -> None:
    version = register_version(folder=model, name="dresses", metrics={"loss_d": 1.0})
    said = run("dresses")
    assert "Kept on dresses v1." in said
    version.refresh_from_db()
    found = evaluation_of(version)
    assert found is not None
    assert found["extractor"]["id"].startswith("shopgen-features@")
    assert found["count"] == 16
    assert version.metrics["loss_d"] == 1.0
    assert (model / "report.html").is_file()


def test_by_folder_only_versions_of_these_weights_get_the_figures(model: Path, tmp_path: Path) -> None:
    version = register_version(folder=model, name="dresses")
    other = ModelVersion.objects.create(
        name="dresses", version=2, folder=str(model), weights_sha256="0" * 64, weights_bytes=1
    )
    assert "Kept on dresses v1." in run(str(model), output=str(tmp_path / "judged"))
    version.refresh_from_db()
    other.refresh_from_db()
    assert evaluation_of(version) is not None
    assert evaluation_of(other) is None
    assert (tmp_path / "judged" / "evaluation.json").is_file()


def test_what_is_unknown_is_told(model: Path) -> None:
    register_version(folder=model, name="dresses")
    with pytest.raises(CommandError, match="There are versions of: dresses"):
        run("skirts")
    with pytest.raises(CommandError, match="pickle"):
        run("dresses", extractor="net.pt")


def test_a_run_that_serves_its_best_state_registers_that_state_s_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: every snapshot but the first is measured as much worse."""
    from shopgen_django.ml import judge as judging

    measure = judging.Judge._measure

    def planted(self: Any, run: Any) -> Any:
        figures, seen = measure(self, run)
        kid = 0.1 if run.images_seen <= 16 else 0.15
        return {**figures, "kid": kid}, replace(seen, kid=kid, kid_error=0.001, memory=1.0, coverage=0.5, variety=1.0)

    monkeypatch.setattr(judging.Judge, "_measure", planted)
    monkeypatch.setattr(judging, "SHARE", 1e9)
    monkeypatch.setattr(judging, "MADE", 16)
    config = tiny(make_folder(tmp_path / "photos", 64), tmp_path / "run", images_seen=48, batch_size=16)
    options = {name: getattr(config, name) for name in ("source", "output", "size", "width", "latent", "batch_size")}
    out = io.StringIO()
    call_command(
        "train_gan", name="best", **options, images_seen=48, warm_images=0, init="scratch", threads=1, device="cpu",
        snapshot_seconds=0.0, tick_seconds=0.0, stdout=out,
    )  # fmt: skip
    assert "The model of 16 pictures (KID 0.1000) is kept instead of the last one, of 48" in out.getvalue()
    version = ModelVersion.objects.get(name="best")
    assert version.metrics["kid"] == 0.1
    assert version.config["images_seen"] == 16
    assert version.config["measured"]["judge"]["extractor"].startswith("shopgen-features@")
