"""Choosing a reference picture on the page that queues work, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, JobState, ProductImage
from tests.diffusion import tiny
from tests.diffusion.conftest import use  # noqa: F401 (a fixture)
from tests.factories import make_image

from .conftest import photos

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.make_sd(tmp_path_factory.mktemp("models") / "tiny-sd")
    tiny.make_adapter(folder / "ip_adapter", folder)
    return folder


def test_found_by_a_word_chosen_and_followed(
    page: Any, model: Path, use: Callable[..., None], shoot: Any  # noqa: F811
) -> None:
    use(MODEL=str(model))
    pictures = [
        make_image(content=content, kind="source", product_label=f"{label} no. {number}")
        for number, (content, label) in enumerate(photos(6), start=1)
    ]
    first, wanted = pictures[0], pictures[3]
    page.goto(f"/admin/shopgen/productimage/{first.pk}/change/")
    page.click("text=Run an operation …")
    page.select_option("#sg-operation", "restyle")
    page.click("text=Show its settings")
    page.fill("[name=p-prompt]", "a shirt on a table")
    page.fill("[name=p-steps]", "2")
    expect(page.get_by_role("radiogroup", name="Reference picture")).to_be_hidden()
    page.click("text=Choose a picture")
    group = page.get_by_role("radiogroup", name="Reference picture")
    expect(group.get_by_role("radio")).to_have_count(7)
    page.get_by_label("Find a picture").fill("no. 4")
    page.keyboard.press("Enter")
    expect(group.get_by_role("radio")).to_have_count(2)
    assert page.input_value("[name=p-prompt]") == "a shirt on a table", "what was filled in is still there"
    group.get_by_text("no. 4").click()
    shoot(page, "reference", whole=True)
    page.fill("[name=p-reference_weight]", "0.9")
    page.click("text=Queue it")
    expect(page.locator(".messagelist")).to_contain_text("1 job was queued")
    job = Job.objects.get()
    assert job.params["reference"] == str(wanted.pk) and job.params["reference_weight"] == 0.9
    run_job(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED, job.error_detail
    result = ProductImage.objects.get(job=job)
    assert set(result.parents.all()) == {first, wanted}
    page.goto(f"/admin/shopgen/productimage/{result.pk}/change/")
    shoot(page, "reference-result", whole=True)
    expect(page.locator("main")).to_contain_text("no. 4")
