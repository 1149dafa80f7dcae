"""Trainings asked for, started, stopped, resumed and thrown away on their pages."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from shopgen_django.jobs.trainings import log_path
from shopgen_django.ml.families import MODULES
from shopgen_django.models import ModelVersion, RunState, TrainingRun
from tests.testshop.models import Category, Product

from .conftest import as_user

pytestmark = pytest.mark.django_db
ADD = "admin:shopgen_trainingrun_add"


def page(run: TrainingRun) -> str:
    return reverse("admin:shopgen_trainingrun_change", args=[run.pk])


def press(client: Client, run: TrainingRun, verb: str, **data: Any) -> Any:
    address = reverse("admin:shopgen_trainingrun_verb", args=[run.pk])
    return client.post(address, {"verb": verb, **data}, follow=True)


def filled_in(**values: Any) -> dict[str, Any]:
    return {
        "token": str(uuid.uuid4()), "catalogue": "default", "name": "dresses", "minutes": "5", "architecture": "modern",
        "init": "auto", "flip": "on", **values,
    }  # fmt: skip


def ordered(tmp_path: Path, state: str = RunState.PLANNED, **fields: Any) -> TrainingRun:
    """A run as it was asked for on the page."""
    order = {"options": {"minutes": 5.0}, "catalogue": "default", "products": [], "activate": False}
    values = {"name": "dresses", "output_dir": str(tmp_path / "run"), "order": order, **fields}
    return TrainingRun.objects.create(state=state, **values)


@pytest.fixture
def viewer(db: None) -> Any:
    user = get_user_model().objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_trainingrun"))
    return user


def test_the_form_becomes_a_run_that_waits_for_its_estimate(desk: Client, product: Product) -> None:
    shown = desk.get(reverse(ADD)).content.decode()
    assert 'value="dress"' in shown and "Estimate it first" in shown
    data = filled_in(estimate="1", category=["dress"], prepare="on", size="32", activate="on")
    answer = desk.post(reverse(ADD), data, follow=True)
    run = TrainingRun.objects.get()
    assert answer.redirect_chain[-1][0] == page(run)
    assert (run.state, run.category, run.created_by.username) == (RunState.ESTIMATING, "dress", "boss")  # type: ignore[union-attr]
    assert run.order == {
        "options": {
            "category": ["dress"], "minutes": 5.0, "size": 32, "flip": True, "architecture": "modern",
            "init": "auto", "prepare": "white",
        },
        "catalogue": "default", "products": [], "activate": True,
    }  # fmt: skip
    assert "No worker is running" in answer.content.decode()
    # The second click of the same page shows the same run.
    assert desk.post(reverse(ADD), data).status_code == 302
    assert TrainingRun.objects.count() == 1


def test_what_is_wrong_is_said_and_nothing_is_made(desk: Client, product: Product, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "TRAINING": {"MAX_MINUTES": 60}}
    shown = desk.post(reverse(ADD), filled_in(start="1", minutes="61")).content.decode()
    assert "at most 60 minutes" in shown
    shown = desk.post(reverse(ADD), filled_in(start="1", category=["hats"])).content.decode()
    assert "hats is not one of the available choices" in shown
    shown = desk.post(reverse(ADD), filled_in(start="1", architecture="vae", dp_epsilon="8", name="")).content.decode()
    assert "This field is required" in shown
    assert not TrainingRun.objects.exists()


def test_chosen_products_are_what_it_learns_from(desk: Client, product: Product) -> None:
    other = Product.objects.create(name="Bare", category=Category.objects.get())
    data = {"catalogue": "default", "product": [str(product.pk)]}
    shown = desk.post(reverse(ADD), data).content.decode()
    assert "From the photos of 1 product" in shown and "Green dress" in shown and "Bare" not in shown
    desk.post(reverse(ADD), filled_in(start="1", product=[str(product.pk)]))
    run = TrainingRun.objects.get()
    assert (run.state, run.order["products"]) == (RunState.QUEUED, [str(product.pk)])
    both = {"catalogue": "default", "product": [str(product.pk), str(other.pk)]}
    shown = desk.post(reverse(ADD), both).content.decode()
    assert "From the photos of 2 products" in shown and "Bare" in shown


def test_every_family_may_be_chosen(desk: Client, product: Product) -> None:
    shown = desk.get(reverse(ADD)).content.decode()
    assert all(f'<option value="{name}"' in shown for name in MODULES)


def test_planned_started_stopped_resumed_discarded(desk: Client, tmp_path: Path) -> None:
    estimate = {
        "photos": 20, "skipped": 1, "images": 9_000, "seconds": 300.0, "images_per_second": 30.0, "made": 2,
        "memory_bytes": 400 << 20, "memory_free": 450 << 20, "disk_free": 1 << 30, "size": 64, "device": "cpu",
        "init": "scratch", "categories": {"dress": 20}, "missing": 0, "notes": [],
    }  # fmt: skip
    run = ordered(tmp_path, estimate=estimate)
    shown = desk.get(page(run)).content.decode()
    for text in ("20 (dress 20)", "9,000, each photo about 450 times", "400 MB; 450 MB are free", "Start the training",
                 "very few to learn from", "too few pictures to make good ones", "memory may not suffice",
                 "disk is nearly full", "2 pictures in the shop were made by a model", "1 files can’t be used"):
        assert text in shown.replace("&#x27;", "’"), text
    shown = press(desk, run, "start").content.decode()
    run.refresh_from_db()
    assert run.state == RunState.QUEUED and ">Stop<" in shown
    press(desk, run, "start")  # the second click
    TrainingRun.objects.filter(pk=run.pk).update(state=RunState.RUNNING, images_seen=5)
    shown = press(desk, run, "stop").content.decode()
    run.refresh_from_db()
    assert run.stop_asked_at is not None and run.state == RunState.RUNNING
    assert "asked to stop and saves" in shown and ">Stop<" not in shown
    TrainingRun.objects.filter(pk=run.pk).update(state=RunState.STOPPED, finished_at=timezone.now())
    shown = press(desk, run, "resume", minutes="zehn").content.decode()
    assert "not a number of minutes: zehn" in shown
    press(desk, run, "resume", minutes="7,5")
    run.refresh_from_db()
    assert (run.state, run.stop_asked_at, run.order["options"]["minutes"]) == (RunState.QUEUED, None, 7.5)
    shown = press(desk, run, "discard").content.decode()
    assert "Stop the training first" in shown
    press(desk, run, "stop")
    Path(run.output_dir).mkdir()
    answer = press(desk, run, "discard")
    assert "is discarded" in answer.content.decode()
    assert not TrainingRun.objects.exists() and not Path(run.output_dir).exists()


def test_a_finished_one_is_trained_further_compared_and_used(desk: Client, tmp_path: Path) -> None:
    run = ordered(tmp_path, RunState.SUCCEEDED, progress=1.0, photos=20)
    fields = {"folder": "/x", "weights_sha256": "a" * 64, "weights_bytes": 1}
    used = ModelVersion.objects.create(
        name="other", version=1, is_active=True, activated_at=timezone.now(), **fields
    )
    made = ModelVersion.objects.create(name="dresses", version=1, run=run, **fields)
    shown = desk.get(page(run)).content.decode()
    assert "Train it further" in shown and "Discard" not in shown and "Use dresses v1" in shown
    assert f"?version={used.pk}&amp;version={made.pk}" in shown
    assert "give more to train it further" in press(desk, run, "resume", minutes="5").content.decode()
    assert "a model came of this" in press(desk, run, "discard").content.decode().lower()
    press(desk, run, "resume", minutes="9")
    run.refresh_from_db()
    assert run.state == RunState.QUEUED


def test_asked_anew_with_changes(desk: Client, product: Product, tmp_path: Path) -> None:
    run = ordered(tmp_path, RunState.FAILED, error="No room.")
    assert "No room." in desk.get(page(run)).content.decode()
    shown = desk.get(reverse(ADD) + f"?from={run.pk}").content.decode()
    assert 'value="dresses"' in shown and 'value="5.0"' in shown


def test_a_run_of_the_command_may_be_stopped_here_and_is_resumed_there(desk: Client, tmp_path: Path) -> None:
    run = TrainingRun.objects.create(name="by hand", output_dir=str(tmp_path), images_seen=4)
    assert ">Stop<" in desk.get(page(run)).content.decode()
    press(desk, run, "stop")
    TrainingRun.objects.filter(pk=run.pk).update(state=RunState.STOPPED)
    shown = desk.get(page(run)).content.decode()
    assert "manage.py train_gan --name" in shown and "Resume" not in shown
    assert "run the command again" in press(desk, run, "resume").content.decode()


def test_what_the_process_wrote_may_be_read(desk: Client, tmp_path: Path) -> None:
    run = ordered(tmp_path)
    log = log_path(run)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("one\n\ntwo <b>\n")
    answer = desk.get(reverse("admin:shopgen_trainingrun_log", args=[run.pk]))
    assert answer.content.decode() == "one\ntwo <b>" and answer["Content-Type"].startswith("text/plain")
    assert "What the process has written" in desk.get(page(run)).content.decode()


def test_people_who_may_only_look(viewer: Any, tmp_path: Path) -> None:
    run, client = ordered(tmp_path), as_user(viewer)
    shown = client.get(page(run)).content.decode()
    assert "Start the training" not in shown
    assert client.get(reverse(ADD)).status_code == 403
    assert "You may not start or stop" in press(client, run, "start").content.decode()
    run.refresh_from_db()
    assert run.state == RunState.PLANNED


def test_only_those_who_may_choose_the_model_let_it_be_used_at_once(
    viewer: Any, product: Product, tmp_path: Path
) -> None:
    viewer.user_permissions.add(Permission.objects.get(codename="start_trainingrun"))
    client = as_user(viewer)
    assert "as soon as it is finished" not in client.get(reverse(ADD)).content.decode()
    client.post(reverse(ADD), filled_in(start="1", activate="on"))
    assert TrainingRun.objects.get().order["activate"] is False


def test_too_many_that_wait_are_refused(desk: Client, product: Product, settings: Any, tmp_path: Path) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "TRAINING": {"WAITING": 1}}
    ordered(tmp_path, RunState.QUEUED)
    assert "Too many trainings" in desk.post(reverse(ADD), filled_in(start="1")).content.decode()
