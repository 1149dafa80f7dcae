"""Pages: complete, stable, each at the same cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from shopgen_django.models import (
    ImageState,
    Job,
    JobInput,
    Measurement,
    MetricPoint,
    ProductImage,
    Publication,
    Review,
    TrainingRun,
)
from tests.api.conftest import BASE
from tests.factories import make_image


def walk(client: APIClient, url: str, direction: str = "next") -> list[str]:
    """The ids of all pages from ``url`` on."""
    seen: list[str] = []
    while url:
        page = client.get(url).json()
        seen += [row["id"] for row in page["results"]]
        url = page[direction]
    return seen


@pytest.fixture
def jobs(db: None) -> list[str]:
    """250 jobs in an order that only the key decides: their times are the same."""
    rows = Job.objects.bulk_create(Job(operation="generate") for _ in range(250))
    Job.objects.update(created_at=timezone.now())
    return sorted((str(row.pk) for row in rows), reverse=True)


def test_every_row_comes_once_though_all_share_their_time(staff: APIClient, jobs: list[str]) -> None:
    assert walk(staff, f"{BASE}/jobs/?page_size=100") == jobs
    assert walk(staff, f"{BASE}/jobs/?page_size=7&ordering=created_at") == jobs[::-1]


def test_back_again(staff: APIClient, jobs: list[str]) -> None:
    url, pages = f"{BASE}/jobs/?page_size=60", []
    while url:
        page = staff.get(url).json()
        pages.append([row["id"] for row in page["results"]])
        last, url = page, page["next"]
    assert [len(rows) for rows in pages] == [60, 60, 60, 60, 10]
    back = []
    while last["previous"]:
        last = staff.get(last["previous"]).json()
        back.append([row["id"] for row in last["results"]])
    assert back == pages[-2::-1]
    assert last["previous"] is None


def test_rows_that_come_and_go_shift_nothing(staff: APIClient, jobs: list[str]) -> None:
    first = staff.get(f"{BASE}/jobs/?page_size=50").json()
    Job.objects.create(operation="generate")
    Job.objects.filter(pk__in=jobs[40:50]).delete()
    assert walk(staff, first["next"]) == jobs[50:]


def test_links_keep_the_filter(staff: APIClient, jobs: list[str]) -> None:
    Job.objects.filter(pk__in=jobs[:20]).update(queue="gpu")
    first = staff.get(f"{BASE}/jobs/?queue=gpu&state=queued&state=running&page_size=5").json()
    query = parse_qs(urlsplit(first["next"]).query)
    assert (query["queue"], query["state"], query["page_size"]) == (["gpu"], ["queued", "running"], ["5"])
    assert walk(staff, first["next"]) == jobs[5:20]


@pytest.mark.parametrize("ordering", ["-created_at", "created_at"])
def test_several_states_are_merged_in_order(staff: APIClient, jobs: list[str], ordering: str) -> None:
    """Each state is asked for on its own; the pages must be the same as of one question."""
    now = timezone.now()
    for number, pk in enumerate(jobs):
        state = ("queued", "running", "succeeded", "cancelled")[number % 4]
        Job.objects.filter(pk=pk).update(
            state=state, created_at=now - timedelta(seconds=number // 3),
            lease_until=now if state == "running" else None,
            finished_at=now if state in {"succeeded", "cancelled"} else None,
        )
    several = (
        ["queued", "running"], ["queued", "succeeded", "cancelled"], ["queued", "running", "succeeded", "failed"],
        ["queued", "running", "succeeded", "failed", "cancelled"],
    )
    for states in several:
        wanted = Job.objects.filter(state__in=states).order_by(ordering, f"{ordering.removesuffix('created_at')}pk")
        query = "&".join(f"state={state}" for state in states)
        seen = walk(staff, f"{BASE}/jobs/?{query}&ordering={ordering}&page_size=17")
        assert seen == [str(pk) for pk in wanted.values_list("pk", flat=True)]
        last = staff.get(f"{BASE}/jobs/?{query}&ordering={ordering}&page_size=100").json()["next"]
        back = staff.get(staff.get(last).json()["previous"]).json()["results"] if last else []
        assert [row["id"] for row in back] == seen[: len(back)]


def test_a_cursor_belongs_to_its_ordering(staff: APIClient, jobs: list[str]) -> None:
    cursor = parse_qs(urlsplit(staff.get(f"{BASE}/jobs/").json()["next"]).query)["cursor"][0]
    answer = staff.get(f"{BASE}/jobs/", {"cursor": cursor, "ordering": "created_at"})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["cursor"])


def test_an_empty_list_and_a_last_page_that_is_just_full(staff: APIClient, db: None) -> None:
    assert staff.get(f"{BASE}/jobs/").json() == {"next": None, "previous": None, "results": []}
    Job.objects.bulk_create(Job(operation="generate") for _ in range(50))
    page = staff.get(f"{BASE}/jobs/").json()
    assert (len(page["results"]), page["next"]) == (50, None)


def _fill(owner: Any, count: int) -> None:
    """Rows with everything hanging on them that a list shows."""
    now = timezone.now()
    for number in range(count):
        image = make_image(ImageState.APPROVED, colour=f"#{number:06x}", created_by=owner)
        job = Job.objects.create(operation="generate", params={"count": 1}, created_by=owner)
        JobInput.objects.create(job=job, image=image)
        child = make_image(colour=f"#{number + 1000:06x}", created_by=owner, job=job)
        child.parents.add(image)
        Measurement.objects.create(image=child, name="sharpness", value=1.0)
        Review.objects.create(image=image, decision="approved", reviewer=owner)
        Publication.objects.create(image=image, catalogue="default", object_pk="1", withdrawn_at=now)


@pytest.mark.parametrize("name", ["jobs", "images", "models", "training-runs"])
def test_the_number_of_queries_does_not_depend_on_the_rows(staff: APIClient, model: Any, name: str) -> None:
    owner = staff.user  # type: ignore[attr-defined]
    counts = []
    staff.get(f"{BASE}/{name}/")  # opens the window of the counter
    for rows in (10, 40):
        _fill(owner, rows)
        for number in range(rows):
            TrainingRun.objects.create(name=f"{name}-{rows}-{number}", output_dir=f"/{rows}/{number}", created_by=owner)
        seen = []
        for _time in range(2):  # the window of the counter may just have ended
            with CaptureQueriesContext(connection) as queries:
                page = staff.get(f"{BASE}/{name}/?page_size=100").json()
            seen.append(len(queries))
        counts.append(min(seen))
    assert len(page["results"]) >= 50 or name == "models"
    assert counts[1] <= counts[0], "more rows, more queries"
    assert counts[0] <= 9  # session, user, two for permissions, the counter now and then, rows, what hangs on them


def test_the_numbers_of_queries_of_single_objects(staff: APIClient, django_assert_max_num_queries: Any) -> None:
    _fill(staff.user, 3)  # type: ignore[attr-defined]
    job, image = Job.objects.first(), ProductImage.objects.results().first()
    assert job is not None
    assert image is not None
    staff.get(f"{BASE}/jobs/")
    with django_assert_max_num_queries(8):
        assert staff.get(f"{BASE}/jobs/{job.pk}/").status_code == 200
    with django_assert_max_num_queries(10):
        assert staff.get(f"{BASE}/images/{image.pk}/").status_code == 200


def test_the_points_of_a_run(staff: APIClient) -> None:
    run = TrainingRun.objects.create(
        name="clothes", output_dir="/secret/place", config={"size": 32, "source": "/secret/photos"}
    )
    MetricPoint.objects.bulk_create(
        MetricPoint(run=run, images_seen=number, seconds=number / 10, values={"kid": number}) for number in range(1500)
    )
    shown = staff.get(f"{BASE}/training-runs/{run.pk}/").json()
    assert shown["config"] == {"size": 32}
    assert "secret" not in str(shown)
    first = staff.get(shown["points_url"], {"page_size": 1000}).json()
    assert [row["images_seen"] for row in first["results"]] == list(range(1000))
    rest = staff.get(first["next"]).json()
    assert [row["images_seen"] for row in rest["results"]] == list(range(1000, 1500))
    later = staff.get(shown["points_url"], {"after": 1497}).json()
    assert [row["values"] for row in later["results"]] == [{"kid": 1498}, {"kid": 1499}]
    assert staff.get(shown["points_url"], {"after": "x"}).status_code == 400
