"""The search of the long lists: what it finds, and that an index serves it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from shopgen_django.admin import search
from shopgen_django.jobs import health
from shopgen_django.models import Job, ProductImage, Review
from shopgen_django.models.counts import capped_counts
from tests.factories import make_image

from .conftest import make_job

IMAGES, JOBS = "admin:shopgen_productimage_changelist", "admin:shopgen_job_changelist"


def found(client: Client, name: str, term: str, column: str = "product_label") -> set[str]:
    page: Any = client.get(reverse(name), {"q": term})
    assert page.status_code == 200
    return {getattr(row, column) for row in page.context["cl"].result_list}


@pytest.fixture
def old_ones(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    """Four pictures, of which only the last two count as recent."""
    monkeypatch.setattr(search, "RECENT", 1)
    for number, label in enumerate(("Green dress", "Éclair bag", "Blue dress", "Straw hat")):
        make_image("in_review", product_label=label, category="Old" if number < 2 else "New",
                   colour=f"#{number + 1}10000")  # fmt: skip


@pytest.mark.parametrize(
    ("term", "labels"),
    [
        ("green", {"Green dress"}), ("GREEN DRESS", {"Green dress"}), ("green  dress", {"Green dress"}),
        ("éclair", {"Éclair bag"}), ("dress", {"Blue dress"}), ("dress blue", {"Blue dress"}),
        ("old", {"Green dress", "Éclair bag"}), ("ol", set()), ("%", set()), ("zebra", set()),
    ],
)
def test_beginnings_anywhere_and_words_among_the_newest(
    desk: Client, old_ones: None, term: str, labels: set[str]
) -> None:
    assert found(desk, IMAGES, term) == labels


def test_jobs_by_name_error_and_id(desk: Client) -> None:
    failed = make_job("failed", product_label="Green dress", error_code="no_memory")
    make_job("succeeded", product_label="Blue dress")
    assert found(desk, JOBS, "no_memory") == {"Green dress"}
    assert found(desk, JOBS, "blue") == {"Blue dress"}
    assert found(desk, JOBS, str(failed.pk)) == {"Green dress"}


def test_decisions_by_reason_and_name(desk: Client) -> None:
    image = make_image("rejected", product_label="Green dress")
    Review.objects.create(image=image, decision="rejected", reason="sleeve is missing")
    for term in ("sleeve", "green"):
        assert found(desk, "admin:shopgen_review_decisions", term, "reason") == {"sleeve is missing"}


@pytest.mark.parametrize(("model", "index"), [(ProductImage, "shopgen_image_label"), (Job, "shopgen_job_label")])
def test_an_index_serves_beginnings(db: None, model: Any, index: str) -> None:
    rows = model._default_manager.all()
    with CaptureQueriesContext(connection) as captured:
        list(search.bounded_search(rows, "green", begins=("product_label",), within=("product_label",)))
    condition = search._begins("product_label", "Green", connection.vendor)
    plan = model._default_manager.order_by().filter(condition).values("pk").explain()
    assert index in plan or connection.vendor != "sqlite", plan
    assert len(captured) <= 3


def test_short_name_of_a_filter_is_written_out(desk: Client) -> None:
    answer: Any = desk.get(reverse(JOBS), {"state": "failed", "q": "x"})
    assert answer.status_code == 302
    page: Any = desk.get(reverse(JOBS) + answer["Location"])
    assert page.status_code == 200
    chosen = [
        choice["display"] for spec in page.context["cl"].filter_specs if spec.title == "state"
        for choice in spec.choices(page.context["cl"]) if choice["selected"]
    ]
    assert chosen == ["failed"]


def test_counts_stop(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("queued", "queued", "queued", "running"):
        make_job(state)
    monkeypatch.setattr(health, "MAX_COUNT", 2)
    waiting, running = Job.objects.filter(state="queued"), Job.objects.filter(state="running")
    assert capped_counts(2, waiting, running, Job.objects.none()) == [2, 1, 0]
    make_job("queued", operation="upload")
    newest = waiting.order_by("-created_at")
    assert capped_counts(2, newest, among=("operation", ("upload", "x"))) == [1]
    assert capped_counts(2, newest.filter(operation="generate"), among=("operation", ("upload",))) == [0]
    [queue] = health.queue_health()
    assert (queue.ready, queue.running, queue.lost) == (2, 1, 0)
