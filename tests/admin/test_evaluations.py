"""Evaluations in the admin: a version's figures and report, versions side by side, alarms on a run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.models import ModelVersion, TrainingRun
from tests.admin.conftest import as_user
from tests.factories import make_user, picture_bytes

pytestmark = pytest.mark.django_db


def evaluation(kid: float, *, extractor: str = "net@1", digest: str = "photos", **values: Any) -> dict[str, Any]:
    return {
        "evaluation": {
            "kid": kid, "kid_floor": 0.001, "coverage": 0.5, "count": 500, "extractor": {"id": extractor},
            "reference": {"digest": digest, "count": 240, "kind": "train"}, **values,
        }
    }  # fmt: skip


def version(number: int, folder: Path, metrics: dict[str, Any]) -> ModelVersion:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "samples" / "1.png").write_bytes(picture_bytes())
    return ModelVersion.objects.create(
        name="dresses", version=number, folder=str(folder), weights_sha256=str(number) * 64, weights_bytes=1,
        metrics=metrics,
    )  # fmt: skip


def compare_url(*versions: ModelVersion) -> str:
    return reverse("admin:shopgen_modelversion_compare") + "?" + "&".join(f"version={v.pk}" for v in versions)


def test_versions_side_by_side_show_figures_only_where_they_are_alike(desk: Client, tmp_path: Path) -> None:
    one = version(1, tmp_path / "1", evaluation(0.2))
    two = version(2, tmp_path / "2", evaluation(0.1))
    other = version(3, tmp_path / "3", evaluation(0.0333, extractor="inception@2"))
    elsewhere = version(4, tmp_path / "4", evaluation(0.0444, digest="other photos"))
    none = version(5, tmp_path / "5", {"loss_d": 1.0})
    listed = desk.post(
        reverse("admin:shopgen_modelversion_changelist"),
        {"action": "compare", "_selected_action": [str(v.pk) for v in (one, two, other, elsewhere, none)]},
    )
    assert listed.status_code == 302
    assert reverse("admin:shopgen_modelversion_compare") in listed["Location"]
    page = desk.get(compare_url(one, two, other, elsewhere, none)).content.decode()
    assert "0.2000" in page and "<strong>0.1000</strong>" in page
    assert "0.0333" not in page and "0.0444" not in page
    for text in ("another feature network", "other real pictures", "Not evaluated yet", "net@1"):
        assert text in page, text
    assert page.count("/samples/") >= 5


def test_too_few_to_compare_and_strangers(desk: Client, tmp_path: Path) -> None:
    one = version(1, tmp_path, evaluation(0.2))
    listed = desk.post(
        reverse("admin:shopgen_modelversion_changelist"),
        {"action": "compare", "_selected_action": [str(one.pk)]}, follow=True,
    )  # fmt: skip
    assert "Choose two to" in listed.content.decode()
    assert "at least two" in desk.get(compare_url(one)).content.decode()
    assert desk.get(reverse("admin:shopgen_modelversion_compare") + "?version=nonsense").status_code == 200
    assert as_user(make_user("nobody")).get(compare_url(one, one)).status_code == 403


def test_a_version_shows_its_evaluation_and_its_report(desk: Client, tmp_path: Path) -> None:
    one = version(1, tmp_path, evaluation(0.2, memory_ratio=0.9, evaluated_at="2026-01-01T00:00:00+00:00"))
    address = reverse("admin:shopgen_modelversion_report", args=[one.pk])
    page = desk.get(reverse("admin:shopgen_modelversion_change", args=[one.pk])).content.decode()
    assert "0.2000 (0.0010)" in page and "500 made pictures against 240 real ones" in page and "net@1" in page
    assert address not in page and desk.get(address).status_code == 404
    (tmp_path / "report.html").write_text("<p>The report</p>")
    assert address in desk.get(reverse("admin:shopgen_modelversion_change", args=[one.pk])).content.decode()
    report = desk.get(address)
    assert report.content == b"<p>The report</p>"
    assert "sandbox" in report["Content-Security-Policy"]
    assert as_user(make_user("nobody")).get(address).status_code == 404


def test_alarms_stand_on_the_run_page_in_plain_words(desk: Client, tmp_path: Path) -> None:
    run = TrainingRun.objects.create(
        name="dresses", output_dir=str(tmp_path), state="running",
        latest={"loss_d": 1.0, "kid": 0.25, "alarm_memorised": 12_000.0, "mended_collapse": 9_000.0},
    )  # fmt: skip
    page = desk.get(reverse("admin:shopgen_trainingrun_change", args=[run.pk])).content.decode()
    assert "nearly copies of training photos" in page and "since 12,000 pictures" in page
    assert "At 9,000 pictures the best state was put back" in page
    assert "0.2500" in page
    run.latest = {"loss_d": 1.0}
    run.save()
    live = desk.get(reverse("admin:shopgen_trainingrun_live", args=[run.pk])).json()["html"]
    assert "sg-warning" not in live
