"""Large models in a real browser: added by somebody without a shell, verified while the page watches, removed."""

from __future__ import annotations

import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job
from shopgen_django.services.large_models import add_model
from tests.diffusion.conftest import sd, use
from tests.diffusion.test_folder import UNET, flip

__all__ = ["sd", "use"]
expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def work() -> str:
    job = Job.objects.order_by("-created_at").first()
    assert job is not None
    return run_job(job.pk)


def test_added_verified_damaged_and_removed(page: Any, sd: Path, settings: Any, shoot: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {"OPTIONS": {"MODEL": "studio"}}}}
    root = Path(settings.SHOPGEN["ROOT"])
    for name in ("studio-model", "outdoor"):
        shutil.copytree(sd, root / "incoming_models" / name)
    add_model(
        root / "incoming_models" / "outdoor", name="outdoor", licence="OpenRAIL++-M", commercial=True,
        source="https://example.org/outdoor",
    )
    page.goto("/admin/shopgen/")
    page.click("text=Large models and networks")
    page.click("text=Add a model …")
    page.get_by_label("Folder on the server").fill("/etc")
    page.get_by_label("Name").fill("studio")
    page.get_by_label("Licence").fill("CreativeML-OpenRAIL-M")
    page.get_by_label("yes").check()
    page.get_by_label("Source").fill("https://example.org/studio-model")
    page.get_by_label("Base model").fill("Stable Diffusion 1.5")
    page.click("input[type=submit].default")
    expect(page.locator(".errorlist")).to_contain_text("Models may be added from folders below incoming_models")
    page.get_by_label("Folder on the server").fill("studio-model")
    shoot(page, "models-add", whole=True)
    page.click("input[type=submit].default")
    expect(page.locator(".messagelist")).to_contain_text("A worker is asked to add studio")
    expect(page.locator("tr", has_text="Add studio")).to_contain_text("Waits for a worker")
    assert work() == "succeeded"
    card = page.locator("#model-studio")
    expect(card).to_contain_text("every file is as it was added", timeout=15_000)
    expect(card).to_contain_text("the engine “diffusion” (MODEL)")

    flip(root / "incoming_models" / "outdoor" / UNET)
    page.locator("#model-outdoor").get_by_role("button", name="Verify now").click()
    expect(page.locator("#model-outdoor")).to_contain_text("being verified")
    shoot(page, "models-verifying", whole=True)
    assert work() == "failed"
    expect(page.locator("#model-outdoor .sg-problem")).to_contain_text("unet/diffusion_pytorch_model", timeout=15_000)
    shoot(page, "models", whole=True)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out on a phone"
    shoot(page, "models-phone", whole=True)
    page.set_viewport_size({"width": 1360, "height": 900})

    card.get_by_role("link", name="Remove …").click()
    expect(page.locator("li", has_text="The engine “diffusion” of the settings names it")).to_be_visible()
    shoot(page, "models-remove", whole=True)
    page.click("input[type=submit].default")
    assert work() == "succeeded"
    expect(page.locator("#model-studio")).to_have_count(0, timeout=15_000)
    assert (root / "incoming_models" / "studio-model" / UNET).is_file()
