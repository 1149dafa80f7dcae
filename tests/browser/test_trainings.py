"""An engineer asks for a training in a real browser, sees the estimate, starts it and sees how it ends."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from django.core.management import call_command

from shopgen_django.models import RunState, TrainingRun
from shopgen_django.services.trainings import stop_training
from tests.testshop.models import Product

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_estimated_started_stopped_resumed(page: Any, products: list[Product], boss: Any, shoot: Any) -> None:
    """The worker's part is done here in the test's own process, by the very command that a worker starts."""
    page.goto("/admin/shopgen/trainingrun/")
    page.click("text=Train a model")
    page.fill("#id_minutes", "0")
    page.click("text=Estimate it first")
    expect(page.locator(".errorlist").first).to_be_visible()
    page.fill("#id_name", "hats and bags")
    page.fill("#id_minutes", "0.2")
    page.select_option("#id_size", "32")
    page.select_option("#id_init", "scratch")
    page.click("text=Estimate it first")
    run = TrainingRun.objects.get()
    expect(page.locator("text=No worker is running")).to_be_visible()
    call_command("train_gan", run=str(run.pk), dry_run=True, threads=1)
    # The page notices by itself.
    page.click("text=Start the training")
    expect(page.locator("text=6 (")).to_be_visible()
    shoot(page, "training-planned", whole=True)
    run.refresh_from_db()
    assert run.state == RunState.QUEUED and run.estimate["photos"] == 6
    TrainingRun.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    stop_training(run=run, user=boss)
    call_command("train_gan", run=str(run.pk), threads=1, batch_size=4)
    run.refresh_from_db()
    assert run.state == RunState.STOPPED
    page.reload()
    page.fill("#sg-minutes", "0.3")
    page.click("text=Resume")
    expect(page.locator(".messagelist")).to_contain_text("goes on as soon as a worker is free")
    run.refresh_from_db()
    assert (run.state, run.order["options"]["minutes"], run.stop_asked_at) == (RunState.QUEUED, 0.3, None)
