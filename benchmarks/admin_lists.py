"""The admin's lists with 100,000 pictures and jobs: how many queries, how long, and whether it grows with the rows.

    python benchmarks/admin_lists.py [--rows 100000] [--requests 40] [--output docs/benchmarks/admin_lists.md]

The rows and the way of measuring are those of ``benchmarks/lists.py``; the user has every permission, so that all
actions, filters and banners are there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lists import _analyse, fill, measure, table


def pages() -> dict[str, str]:
    """What is measured: title -> address."""
    from django.urls import reverse

    from shopgen_django.admin.pagination import BoundedPaginator
    from shopgen_django.models import ProductImage

    waiting = ProductImage.objects.waiting()
    middle = waiting[waiting.count() // 2].pk
    last = BoundedPaginator(ProductImage.objects.all(), 50).num_pages

    images, jobs = reverse("admin:shopgen_productimage_changelist"), reverse("admin:shopgen_job_changelist")
    return {
        "pictures, first page of 50": images,
        "pictures, last page that is counted": f"{images}?p={last}",
        "pictures, waiting for review": f"{images}?state__exact=in_review",
        "pictures, of a category": f"{images}?category=Hat",
        "pictures, search for a product": f"{images}?q=product+77",
        "pictures, search for a word that is rare": f"{images}?q=umbrella",
        "jobs, first page of 50": jobs,
        "jobs, failed": f"{jobs}?state__exact=failed",
        "jobs, of an operation": f"{jobs}?operation=fit",
        "jobs, search for a product": f"{jobs}?q=product+77",
        "jobs, search for an error code": f"{jobs}?q=worker_lost",
        "review desk": reverse("admin:shopgen_review_changelist"),
        "review desk, a picture in the middle": f"{reverse('admin:shopgen_review_changelist')}?image={middle}",
        "review, 24 at once": reverse("admin:shopgen_review_grid"),
        "decisions": reverse("admin:shopgen_review_decisions"),
        "decisions, search for a reason": f"{reverse('admin:shopgen_review_decisions')}?q=Reason+3",
        "start page of the app": reverse("admin:app_list", args=["shopgen"]),
    }


def run(rows: int, requests: int) -> str:
    """Fill, measure, fill, measure; the result as a docs page."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    call_command("migrate", verbosity=0, run_syncdb=True)
    owner = get_user_model().objects.create_superuser("owner", password="secret")
    client = Client()
    client.force_login(owner)
    fill(0, rows // 100, owner)
    _analyse(connection)
    few = [measure(client, url, requests) for url in pages().values()]
    began = time.perf_counter()
    fill(rows // 100, rows, owner)
    _analyse(connection)
    print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    many = [measure(client, url, requests) for url in pages().values()]
    return "\n".join([
        "# Lists of the admin",
        "",
        f"`python benchmarks/admin_lists.py --rows {rows} --requests {requests}`: {rows:,} pictures and {rows:,} jobs",
        f"(a quarter of them waiting or running) in {connection.vendor}, one process, whole pages rendered through",
        "Django's handler for a superuser. Queries include the session and the user.",
        "",
        table(list(pages()), few, many, rows),
        "",
        f"Most queries: {max(row.queries for row in many)}. Slowest p95: {max(row.p95 for row in many) * 1000:.0f} ms "
        f"on the clock, {max(row.own_p95 for row in many) * 1000:.0f} ms of CPU time; load average of the machine "
        f"meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
    ])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shopgen-lists-") as folder:
        os.environ["SHOPGEN_TEST_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        text = run(options.rows, options.requests)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
