"""Lists cost the same with many rows; nothing that people or models wrote becomes markup."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from shopgen_django.admin.filters import distinct_values
from shopgen_django.admin.pagination import BoundedPaginator
from shopgen_django.models import Measurement, ProductImage, Review, TrainingRun
from tests.factories import make_image, make_user

from .conftest import as_user, make_job

EVIL = '<script>alert("x")</script>'
PAGES = {
    "productimage": "admin:shopgen_productimage_changelist",
    "job": "admin:shopgen_job_changelist",
    "start": "admin:index",
    "desk": "admin:shopgen_review_changelist",
    "grid": "admin:shopgen_review_grid",
    "decisions": "admin:shopgen_review_decisions",
}


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def fill(number: int) -> None:
    template = make_image("in_review")
    for index in range(number):
        image = ProductImage.objects.get(pk=template.pk)
        image.pk, image.category, image.product_label = None, f"category {index % 7}", f"Product {index}"
        image._state.adding = True
        image.id = ProductImage._meta.pk.get_default()
        image.file.name = f"sources/xx/{index}.png"
        image.save(force_insert=True)
        make_job("running" if index % 2 else "queued")
        Review.objects.create(image=image, decision="rejected", reason="because")


@pytest.mark.parametrize("name", PAGES)
def test_queries_do_not_grow(desk: Client, name: str) -> None:
    address = reverse(PAGES[name])
    fill(10)
    desk.get(address)
    few = queries(desk, address)
    Review.objects.all().delete()
    ProductImage.objects.all().delete()
    fill(100)
    many = queries(desk, address)
    assert many == few <= 10, (few, many)


def test_desk_of_one_picture_for_staff_with_permissions(product: Any) -> None:
    """The dearest case: a picture in the middle, the product's own beside it, permissions of person and group."""
    fill(3)
    labels = {"catalogue": "default", "object_pk": str(product.pk), "product_label": "Green dress"}
    image = make_image("in_review", colour="#123456", **labels)
    client = as_user(make_user("anna", "review_productimage"))
    address = reverse("admin:shopgen_review_changelist") + f"?image={image.pk}"
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(address)
    assert page.status_code == 200 and page.context["now"].picture_url
    assert len(captured) <= 10, [query["sql"][:160] for query in captured]


def test_count_is_bounded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopgen_django.admin.pagination.COUNTED_ROWS", 3)
    fill(5)
    with CaptureQueriesContext(connection) as captured:
        assert BoundedPaginator(ProductImage.objects.all(), 2).count == 3
    assert "LIMIT 3" in captured[0]["sql"]


def test_distinct_values(db: None) -> None:
    fill(20)
    assert distinct_values(ProductImage.objects.all(), "category") == [f"category {index}" for index in range(7)]


def test_what_people_wrote_is_never_markup(desk: Client) -> None:
    job = make_job(
        "failed", product_label=EVIL, error_detail=EVIL, params={"category": EVIL},
        history=[{"attempt": 1, "worker": EVIL, "outcome": EVIL, "detail": EVIL}],
    )
    photo = make_image("draft", product_label=EVIL, alt_text=EVIL, colour="#110000")
    image = make_image(
        "in_review", product_label=EVIL, category=EVIL, alt_text=EVIL, gate_reason=EVIL, params={EVIL: EVIL},
        operation="generate", job=job,
    )
    image.parents.add(photo)
    Measurement.objects.create(image=image, name=EVIL, value=1.0)
    Review.objects.create(image=image, decision="rejected", reason=EVIL)
    run = TrainingRun.objects.create(
        name=EVIL, output_dir=f"/nowhere/{EVIL}", state="failed", error=EVIL, config={EVIL: EVIL}, latest={EVIL: 1.0}
    )
    addresses = [
        *(reverse(address) for address in PAGES.values()),
        reverse("admin:shopgen_productimage_change", args=[image.pk]),
        reverse("admin:shopgen_job_change", args=[job.pk]),
        reverse("admin:shopgen_trainingrun_change", args=[run.pk]),
        reverse("admin:shopgen_trainingrun_changelist"),
        reverse("admin:shopgen_job_queue") + "?q=%3Cscript%3E",
    ]
    for address in addresses:
        page = desk.get(address).content.decode()
        assert "<script>alert" not in page, address
    page = desk.post(reverse("admin:shopgen_productimage_bulk", args=["reject"]), {"pk": image.pk}).content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    answer = desk.post(reverse("admin:shopgen_review_decide", args=[image.pk]), {"verdict": "approve"}, follow=True)
    assert "<script>alert" not in answer.content.decode()


def test_our_templates_need_no_inline_script_or_style() -> None:
    import re
    from pathlib import Path

    import shopgen_django

    root = Path(shopgen_django.__file__).parent / "templates"
    # The editing command's report is a file that people open from their disk; no server and no policy is involved.
    files = sorted(path for path in root.rglob("*.html") if path.name != "edit_report.html")
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text), path


@pytest.mark.django_db
def test_pictures_are_for_staff_who_may_see_them() -> None:
    from tests.factories import make_user

    image = make_image("in_review")
    address = reverse("admin:shopgen_productimage_picture", args=[image.pk, "small", image.sha256[:16]])
    anonymous: Any = Client().get(address)
    assert anonymous.status_code == 302 and "login" in anonymous["Location"]
    client = Client()
    client.force_login(make_user("clerk", "view_job"))
    assert client.get(address).status_code == 403
