"""Every screen opens, with rows and without, and says what it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.models import (
    Measurement,
    MetricPoint,
    ModelVersion,
    TrainingRun,
)
from tests.factories import make_image, picture_bytes
from tests.testshop.models import Product

from .conftest import make_job

LISTS = ("productimage", "job", "review", "trainingrun", "modelversion")


@pytest.mark.parametrize("name", LISTS)
def test_lists_open_without_rows(desk: Client, name: str) -> None:
    assert desk.get(reverse(f"admin:shopgen_{name}_changelist")).status_code == 200


def test_start_page_counts(desk: Client) -> None:
    make_image("in_review")
    make_image("in_review")
    make_job()
    page = desk.get(reverse("admin:app_list", args=["shopgen"])).content.decode()
    assert "<strong>2</strong> waiting for review" in page
    assert "<strong>1</strong> jobs waiting" in page
    assert "no worker is running" in page


def test_picture_list_shows_thumbnails_and_states(desk: Client, product: Product) -> None:
    image = make_image("in_review", product_label="Green dress", catalogue="default", object_pk=str(product.pk))
    page = desk.get(reverse("admin:shopgen_productimage_changelist")).content.decode()
    assert "sg-badge-in_review" in page and "Green dress" in page
    address = reverse("admin:shopgen_productimage_picture", args=[image.pk, "small", image.sha256[:16]])
    assert address in page
    answer = desk.get(address)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/webp" and answer.content[8:12] == b"WEBP"
    assert "private" in answer["Cache-Control"] and answer["X-Content-Type-Options"] == "nosniff"


def test_picture_page_tells_all(desk: Client, product: Product) -> None:
    photo = make_image("draft", kind="source", catalogue="default", object_pk=str(product.pk), colour="#aa0000")
    job = make_job("succeeded")
    image = make_image(
        "in_review", job=job, operation="generate", params={"count": 4, "seed": None}, product_label="Green dress",
        catalogue="default", object_pk=str(product.pk), colour="#00aa00",
    )
    image.parents.add(photo)
    child = make_image("draft", colour="#0000aa")
    child.parents.add(image)
    Measurement.objects.create(image=image, name="sharpness", value=0.5)
    page = desk.get(reverse("admin:shopgen_productimage_change", args=[image.pk])).content.decode()
    for text in ("Made from", "Made from this picture", "Sharpness", "How many", image.sha256, "Approve", "Reject"):
        assert text in page, text
    assert "Publish in the shop" not in page
    for kin in (photo, child):
        assert reverse("admin:shopgen_productimage_change", args=[kin.pk]) in page


def test_job_page_tells_all(desk: Client) -> None:
    photo = make_image("draft", kind="source")
    job = make_job("failed", history=[{
        "attempt": 1, "worker": "w1", "started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:00:05+00:00",
        "outcome": "failed", "code": "out_of_memory", "detail": "The worker ran out of memory.",
    }])  # fmt: skip
    job.job_inputs.create(image=photo)
    make_image("in_review", job=job)
    page = desk.get(reverse("admin:shopgen_job_change", args=[job.pk])).content.decode()
    for text in ("ran out of memory", "Try again", "5.0 s", "Results", "Generate pictures"):
        assert text in page, text


def test_run_and_version_pages(desk: Client, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "000100.png").write_bytes(picture_bytes())
    run = TrainingRun.objects.create(
        name="dresses", output_dir=str(tmp_path), state="failed", error="A NaN stopped it.", progress=0.5,
        latest={"loss_d": 1.25, "loss_g": 0.75},
    )
    for step in range(5):
        MetricPoint.objects.create(
            run=run, images_seen=100 * step, seconds=10.0 * step, values={"loss_d": 1.0 + step, "loss_g": 2.0 - step}
        )
    page = desk.get(reverse("admin:shopgen_trainingrun_change", args=[run.pk])).content.decode()
    for text in ("A NaN stopped it.", "polyline", "train_gan --name dresses", "1.250", "/samples/?of="):
        assert text in page, text
    live = desk.get(reverse("admin:shopgen_trainingrun_live", args=[run.pk])).json()
    assert live["active"] is False and "polyline" in live["html"]
    sheet = desk.get(reverse("admin:shopgen_trainingrun_samples", args=[run.pk]))
    assert sheet.status_code == 200 and sheet.content == picture_bytes()
    version = ModelVersion.objects.create(
        name="dresses", version=1, folder=str(tmp_path), weights_sha256="0" * 64, weights_bytes=10, run=run,
        metrics={"kid": 0.0123},
    )
    page = desk.get(reverse("admin:shopgen_modelversion_change", args=[version.pk])).content.decode()
    for text in ("0.0123", "Use this version", "/samples/?of="):
        assert text in page, text


def test_review_desk_and_grid(desk: Client) -> None:
    photo = make_image("draft", kind="source", colour="#aa0000")
    first = make_image("in_review", product_label="First", colour="#00aa00")
    first.parents.add(photo)
    make_image("in_review", product_label="Second", colour="#0000aa")
    page = desk.get(reverse("admin:shopgen_review_changelist")).content.decode()
    assert "2 pictures are waiting for review" in page and "Original" in page and "First" in page
    page = desk.get(reverse("admin:shopgen_review_grid")).content.decode()
    assert page.count('name="pk"') == 2
    assert desk.get(reverse("admin:shopgen_review_decisions")).status_code == 200


def test_queue_page_and_products(desk: Client, product: Product) -> None:
    page = desk.get(reverse("admin:shopgen_job_queue"), {"q": "green"}).content.decode()
    assert "Green dress" in page
    chosen = {"catalogue": "default", "product": product.pk}
    page = desk.get(reverse("admin:shopgen_job_queue"), chosen).content.decode()
    assert "There is no active model" in page
    page = desk.get(reverse("admin:shopgen_products")).content.decode()
    assert "Green dress" in page and "Import photos" in page


def test_unknown_addresses_are_not_found(desk: Client, boss: Any) -> None:
    image = make_image("draft")
    for args in ([image.pk, "huge", image.sha256[:16]], [image.pk, "small", "0" * 16]):
        assert desk.get(reverse("admin:shopgen_productimage_picture", args=args)).status_code == 404
    assert desk.post(reverse("admin:shopgen_productimage_bulk", args=["destroy"])).status_code == 404
