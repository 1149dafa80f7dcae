"""A fine-tuning in a real browser: its run, its version, put to use, and its name in the form that makes pictures."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from shopgen_django.models import Job, ModelVersion, TrainingRun
from tests.diffusion.conftest import sd, use
from tests.testshop.models import Product

__all__ = ["sd", "use"]
expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_watched_used_and_called_by_its_name(
    page: Any, products: list[Product], sd: Path, use: Any, shoot: Any
) -> None:
    use(MODEL=str(sd))
    call_command(
        "train_lora", name="house-style", trigger="zeni style", steps=12, rank=4, batch=1, accumulate=1, lr=0.02,
        size=64, samples=4, sample_steps=2, measure_every=2, tick_seconds=0.0, device="cpu", threads=1,
        stdout=io.StringIO(),
    )  # fmt: skip
    run, version = TrainingRun.objects.get(), ModelVersion.objects.get()
    page.goto(f"/admin/shopgen/trainingrun/{run.pk}/change/")
    expect(page.locator("text=loss on photos held out").first).to_be_visible()
    expect(page.locator("figure.sg-sheet img")).to_be_visible()
    shoot(page, "lora-run", whole=True)
    page.goto(f"/admin/shopgen/modelversion/{version.pk}/change/")
    expect(page.locator("text=zeni style")).to_be_visible()
    page.click("text=Use this version")
    page.click("input[type=submit].default")
    expect(page.locator(".messagelist")).to_contain_text("is used from now on")
    expect(page.locator("code", has_text="house-style: 0.8")).to_be_visible()
    shoot(page, "lora-version", whole=True)
    page.goto("/admin/shopgen/job/queue/?operation=create")
    page.fill("[name=p-prompt]", "a hat")
    page.fill("[name=p-loras]", "hose-style: 0.8")
    page.click("input[name=queue]")
    expect(page.locator(".sg-problem, .errorlist").first).to_contain_text("Known are: house-style")
    page.fill("[name=p-loras]", "house-style: 0.8")
    page.click("input[name=queue]")
    expect(page.locator(".messagelist")).to_be_visible()
    assert Job.objects.get().params["loras"] == "house-style: 0.8"
