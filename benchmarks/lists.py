"""Lists with 100,000 pictures and jobs: how many queries, how long, and whether it grows with the rows.

    python benchmarks/lists.py [--rows 100000] [--requests 60] [--output docs/benchmarks/lists.md]

Makes a database of its own in a temporary folder (SQLite; PostgreSQL when SHOPGEN_TEST_POSTGRES names one), fills it to
1 % of the rows and measures, fills it up and measures again: the ratio of the two is what tells whether the cost is
flat. Requests go through Django's handler with sessions, permissions, throttles and JSON rendering, without a socket.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
BASE = "/shopgen/api/v1"
STATES = ("draft", "in_review", "approved", "rejected", "published")
CATEGORIES = ("Dress", "Hat", "Shirt", "Shoes", "Skirt", "Trousers")
PER_BATCH = 5000
JOB_STATES = ("queued", "running", "succeeded", "succeeded", "succeeded", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Measured:
    """Seconds on the clock, and of this process alone: on a machine that does other things the two differ."""

    queries: int
    median: float
    p95: float
    own_median: float
    own_p95: float


def fill(start: int, stop: int, owner: Any) -> None:
    """Pictures and jobs number ``start`` to ``stop``, one second apart; every second picture has a parent."""
    from django.utils import timezone

    from shopgen_django.models import Job, JobInput, Measurement, ProductImage, Review

    origin = timezone.now() - timedelta(days=3)
    for model in (Job, ProductImage, Review):
        model._meta.get_field("created_at").auto_now_add = False  # the times are ours
    for low in range(start, stop, PER_BATCH):
        numbers = range(low, min(stop, low + PER_BATCH))
        jobs = [_job(number, owner, origin) for number in numbers]
        Job.objects.bulk_create(jobs)
        images = [_image(number, job, owner, origin) for number, job in zip(numbers, jobs, strict=True)]
        ProductImage.objects.bulk_create(images)
        JobInput.objects.bulk_create(JobInput(job=job, image=image) for job, image in zip(jobs, images, strict=True))
        Measurement.objects.bulk_create(Measurement(image=row, name="sharpness", value=1.0) for row in images)
        Review.objects.bulk_create(
            Review(
                image=row, decision="rejected", reason=f"Reason {number % 7}", reviewer=owner,
                created_at=row.created_at,
            )
            for number, row in enumerate(images)
        )
        through = ProductImage.parents.through
        through.objects.bulk_create(
            through(from_productimage_id=child.pk, to_productimage_id=parent.pk)
            for child, parent in zip(images[1::2], images[::2], strict=False)
        )


def _job(number: int, owner: Any, origin: Any) -> Any:
    from shopgen_django.models import FINISHED_JOB_STATES, Job

    state = JOB_STATES[number % len(JOB_STATES)]
    finished = state in FINISHED_JOB_STATES
    return Job(
        operation="generate" if number % 3 else "fit", params={"count": 1}, state=state, created_by=owner,
        product_label=f"Product {number // 10}", catalogue="default", object_pk=str(number // 10),
        finished_at=origin if finished else None, lease_until=origin if state == "running" else None,
        error_code="worker_lost" if state == "failed" else "", attempt=1,
        created_at=origin + timedelta(seconds=number),
    )


def _image(number: int, job: Any, owner: Any, origin: Any) -> Any:
    from shopgen_django.models import ProductImage

    state = STATES[number % len(STATES)]
    return ProductImage(
        kind="result", state=state, category=CATEGORIES[number % len(CATEGORIES)], catalogue="default",
        object_pk=str(number // 10), product_label=f"Product {number // 10}", file=f"results/{uuid.uuid4()}.png",
        sha256=f"{number:064x}", format="PNG", width=64, height=64, bytes=4096, job=job, created_by=owner,
        approved_at=origin if state in ("approved", "published") else None,
        published_at=origin if state == "published" else None, operation="generate", params={"count": 1},
        created_at=origin + timedelta(seconds=number),
    )


def measure(client: Any, url: str, requests: int) -> Measured:
    """Seconds of so many requests after one that warms up, and the queries of one of them."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(url)
    count = len(queries)  # the next request empties the log
    assert answer.status_code == 200, answer.content
    seconds, own = [], []
    for _ in range(requests):
        began, began_own = time.perf_counter(), time.process_time()
        client.get(url)
        seconds.append(time.perf_counter() - began)
        own.append(time.process_time() - began_own)
    return Measured(
        count, statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1],
        statistics.median(own), statistics.quantiles(own, n=20)[-1],
    )


def deep(client: Any, url: str, pages: int) -> str:
    """Address of the page that comes after so many pages of 100."""
    address = f"{url}{'&' if '?' in url else '?'}page_size=100"
    for _ in range(pages):
        following = client.get(address).json()["next"]
        if following is None:
            return address
        address = following
    return address


def urls(client: Any) -> dict[str, str]:
    """What is measured: title -> address."""
    found = {}
    for name in ("images", "jobs"):
        found[f"{name}, first page of 50"] = f"{BASE}/{name}/"
        found[f"{name}, first page of 100"] = f"{BASE}/{name}/?page_size=100"
        found[f"{name}, page 100 of 100 rows"] = deep(client, f"{BASE}/{name}/", 99)
        found[f"{name}, oldest first"] = f"{BASE}/{name}/?ordering=created_at"
    found["images, waiting for review"] = f"{BASE}/images/?state=in_review"
    found["images, of a category"] = f"{BASE}/images/?category=Hat"
    found["images, of a product"] = f"{BASE}/images/?catalogue=default&object_pk=7"
    found["jobs, waiting or running"] = f"{BASE}/jobs/?state=queued&state=running"
    found["jobs, all but cancelled"] = f"{BASE}/jobs/?" + "&".join(
        f"state={state}" for state in ("queued", "running", "succeeded", "failed")
    )
    found["jobs, failed"] = f"{BASE}/jobs/?state=failed"
    found["jobs, of an operation"] = f"{BASE}/jobs/?operation=fit"
    return found


def table(titles: list[str], few: list[Measured], many: list[Measured], rows: int) -> str:
    lines = [
        f"| list | queries | median | p95 | p95 of CPU time | CPU time against {rows // 100:,} rows |",
        "|---|---|---|---|---|---|",
    ]
    for title, small, large in zip(titles, few, many, strict=True):
        lines.append(
            f"| {title} | {large.queries} | {large.median * 1000:.0f} ms | {large.p95 * 1000:.0f} ms "
            f"| {large.own_p95 * 1000:.0f} ms | {large.own_median / small.own_median:.2f} x |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shopgen-lists-") as folder:
        os.environ["SHOPGEN_TEST_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        text = run(options.rows, options.requests)
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")


def run(rows: int, requests: int) -> str:
    """Fill, measure, fill, measure; the result as a docs page."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from tests.factories import make_user

    call_command("migrate", verbosity=0)
    owner = make_user("owner", "view_job", "view_productimage")
    client = Client()
    client.force_login(owner)
    fill(0, rows // 100, owner)
    _analyse(connection)
    # The deep page lies elsewhere once there are more rows, so the addresses are asked for anew.
    few = [measure(client, url, requests) for url in urls(client).values()]
    began = time.perf_counter()
    fill(rows // 100, rows, owner)
    _analyse(connection)
    print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    found = urls(client)
    many = [measure(client, url, requests) for url in found.values()]
    return "\n".join([
        "# Lists of the HTTP API",
        "",
        f"`python benchmarks/lists.py --rows {rows} --requests {requests}`: {rows:,} pictures (each with a",
        f"measurement, half of them with a parent) and {rows:,} jobs (each with an input and a result) in",
        f"{connection.vendor}, one process, requests through Django's handler with session, permissions, throttle and",
        "JSON rendering. Queries include the session, the user and their permissions (four in all).",
        "",
        table(list(found), few, many, rows),
        "",
        f"Most queries: {max(row.queries for row in many)}. Slowest p95: {max(row.p95 for row in many) * 1000:.0f} ms "
        f"on the clock, {max(row.own_p95 for row in many) * 1000:.0f} ms of CPU time; load average of the machine "
        f"meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
    ])


def _analyse(connection: Any) -> None:
    """What autovacuum and ``PRAGMA optimize`` do in time: tell the planner how the rows are spread."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    main()
