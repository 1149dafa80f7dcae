"""Budgets in a real browser: what is left where work is queued, and the page that shows them all."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from django.test.utils import override_settings

from shopgen_django.engines import reset_engines
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job
from tests.remote.server import Told, running
from tests.testshop.models import Product

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def provider(settings: Any) -> Iterator[Told]:
    with running() as (url, told):
        engine = {
            "BACKEND": "shopgen_django.engines.remote.OpenAICompatible", "PRICE": "0.04",
            "OPTIONS": {"URL": url, "MODEL": "painter", "SIZE": (64, 48)},
        }
        settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": engine}, "BUDGETS": {
            "pictures": {"LABEL": "Provider", "UNIT": "pictures", "LIMIT": 12, "PERIOD": "month"},
            "money": {"UNIT": "money", "LIMIT": 5, "CURRENCY": "EUR", "PERIOD": "day", "OPERATIONS": ["create"]},
            "gpu": {"LABEL": "GPU", "UNIT": "seconds", "LIMIT": 36000, "PERIOD": "day"},
        }}  # fmt: skip
        yield told
        reset_engines()


def test_what_is_left_is_said_where_work_is_queued(
    page: Any, products: list[Product], provider: Told, shoot: Any
) -> None:
    query = "&".join(f"product={product.pk}" for product in products)
    page.goto(f"/admin/shopgen/job/queue/?operation=create&catalogue=default&{query}")
    page.fill("[name=p-prompt]", "{title} on linen")
    page.click("[name=queue]")
    expect(page.locator(".messagelist")).to_contain_text("6 jobs were queued")
    for job in Job.objects.order_by("created_at")[:4]:
        assert run_job(job.pk) == "succeeded"
    page.goto(f"/admin/shopgen/job/queue/?operation=create&catalogue=default&{query}")
    page.fill("[name=p-count]", "2")
    page.click("[name=queue]")
    expect(page.locator(".sg-problem").first).to_contain_text("The budget “Provider” does not pay for this")
    expect(page.locator("text=That is not enough.")).to_be_visible()
    assert Job.objects.count() == 6
    shoot(page, "budget-refused", whole=True)
    page.goto("/admin/shopgen/job/")
    page.click("text=Budgets")
    row = page.get_by_role("row", name="Provider")
    expect(row).to_contain_text("12 pictures a month")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "50")
    shoot(page, "budgets")
    with override_settings(LANGUAGE_CODE="zh-hans"):
        page.context.set_extra_http_headers({"Accept-Language": "zh-hans"})
        page.reload()
        expect(page.get_by_role("row", name="Provider")).to_be_visible()
        shoot(page, "budgets-zh")
