"""Texts are asked for, read beside the photo, changed, and reach the shop."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from shopgen_django.engines import reset_engines
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, TextState, TextSuggestion
from shopgen_django.services.images import import_from_catalogue
from tests.remote.server import Told, running
from tests.testshop.models import Product

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def eyes(settings: Any) -> Iterator[Told]:
    """A server whose model says always the same, for all shops that this process is."""
    with running() as (url, told):
        told.texts = {
            "title": "Longsleeve shirt with buttons",
            "description": "A comfortable shirt with long sleeves, made of 100% organic cotton.",
            "tags": ["shirt", "long sleeves"], "alt_text": "an image of a shirt lying on a floor",
        }  # fmt: skip
        settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"text": {
            "BACKEND": "shopgen_django.engines.remote.OpenAIVision", "OPTIONS": {"URL": url, "MODEL": "eyes"},
        }}}  # fmt: skip
        yield told
        reset_engines()


def test_asked_for_read_changed_and_in_the_shop(page: Any, products: list[Product], eyes: Told, shoot: Any) -> None:
    first, second = products[:2]
    images = [import_from_catalogue(object_pk=product.pk)[0] for product in (first, second)]
    page.goto(f"/admin/shopgen/productimage/{images[0].pk}/change/")
    page.click("text=Run an operation …")
    page.select_option("#sg-operation", "describe")
    page.click("text=Show its settings")
    page.get_by_label("Style").fill("short sentences")
    shoot(page, "texts-queue", whole=True)
    page.click("text=Queue it")
    expect(page.locator("#result_list, .messagelist").first).to_be_visible()
    other = Job.objects.create(
        operation="describe", params=Job.objects.get().params, product_label=second.name, catalogue="default",
        object_pk=str(second.pk),
    )
    other.job_inputs.create(image=images[1], position=0)
    for job in Job.objects.order_by("created_at"):
        assert run_job(job.pk) == "succeeded", job.error_detail
    assert "style: short sentences" in eyes.asked[0]["json"]["messages"][0]["content"][-1]["text"]

    page.goto("/admin/shopgen/")
    page.click("text=texts to be read")
    expect(page.locator("h1", has_text="8 texts are waiting to be read")).to_be_visible()
    description = page.get_by_role("group", name="Description")
    expect(description).to_contain_text("100% organic")
    expect(description.get_by_label("leave it for later")).to_be_checked()
    title = page.get_by_role("group", name="Title")
    expect(title.get_by_label("take it")).to_be_checked()
    title.get_by_role("textbox").fill("Shirt with buttons")
    expect(page.get_by_role("group", name="Tags")).to_contain_text("This shop has no place for it")
    shoot(page, "texts-desk", whole=True)
    page.get_by_role("group", name="Tags").get_by_label("reject it").check()
    page.get_by_label("Reject because …").fill("no tags here")
    page.locator("h1").click()
    page.keyboard.press("a")
    expect(page.locator("h1", has_text="5 texts are waiting to be read")).to_be_visible()
    first.refresh_from_db()
    assert first.name == "Shirt with buttons"
    images[0].refresh_from_db()
    assert images[0].alt_text == "A shirt lying on a floor"

    page.goto("/admin/shopgen/textsuggestion/all/?state__exact=published")
    page.click("text=Shirt with buttons")
    shoot(page, "texts-one", whole=True)
    page.click("text=Take back from the shop")
    expect(page.locator(".messagelist")).to_contain_text("the shop is as it was before")
    first.refresh_from_db()
    assert first.name.endswith("no. 1")
    assert TextSuggestion.objects.filter(state=TextState.WITHDRAWN).count() == 1
