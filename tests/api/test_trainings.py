"""Trainings over HTTP."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from rest_framework.test import APIClient

from shopgen_django.models import RunState, TrainingRun
from shopgen_django.services.trainings import OPTIONS
from tests.testshop.models import Category, Product

from .conftest import BASE

pytestmark = pytest.mark.django_db
RUNS = f"{BASE}/training-runs/"


def ask(client: APIClient, **body: Any) -> Any:
    return client.post(RUNS, {"name": "hats", "options": {"minutes": 5}, **body}, format="json")


def test_asked_for_planned_started_stopped_resumed(staff: APIClient) -> None:
    Product.objects.create(name="Hat", category=Category.objects.create(name="hat"))
    options = {"category": ["hat"], "minutes": 5, "loss": "hinge", "prepare": "white", "flip": False}
    answer = ask(staff, options=options, products=["1"], activate=True)
    assert answer.status_code == 202, answer.content
    shown = answer.json()
    assert answer["Location"] == shown["url"]
    assert (shown["state"], shown["category"], shown["order"]["options"]) == ("estimating", "hat", options)
    assert "output" not in answer.content.decode() and "/training/" not in answer.content.decode()
    TrainingRun.objects.update(state=RunState.PLANNED, estimate={"photos": 3})
    assert staff.get(shown["url"]).json()["estimate"] == {"photos": 3}
    assert staff.post(shown["start_url"]).json()["state"] == "queued"
    TrainingRun.objects.update(state=RunState.RUNNING)
    stopping = staff.post(shown["stop_url"])
    assert (stopping.status_code, stopping.json()["state"]) == (202, "running")
    assert stopping.json()["stop_asked_at"] is not None
    TrainingRun.objects.update(state=RunState.STOPPED)
    again = staff.post(shown["resume_url"], {"minutes": 9}, format="json").json()
    assert (again["state"], again["stop_asked_at"], again["order"]["options"]["minutes"]) == ("queued", None, 9.0)
    assert staff.delete(shown["url"]).status_code == 409
    staff.post(shown["stop_url"])
    assert staff.delete(shown["url"]).status_code == 204
    assert staff.get(shown["url"]).status_code == 404


def test_the_same_id_is_the_same_run(staff: APIClient) -> None:
    key = str(uuid.uuid4())
    first, second = ask(staff, id=key, start=True), ask(staff, id=key, start=True)
    assert first.json() == second.json() and first.json()["state"] == "queued"
    assert TrainingRun.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"options": {"minutes": 0}}, "options.minutes"),
        ({"options": {"minutes": 10**9}}, "options.minutes"),
        ({"options": {}}, "options.minutes"),
        ({"options": {"minutes": "inf"}}, "options.minutes"),
        ({"options": {"minutes": 5, "size": "big"}}, "options.size"),
        ({"options": {"minutes": 5, "category": ["no such"]}}, "options.category"),
        ({"options": {"minutes": 5, "flip": "yes"}}, "options.flip"),
        ({"options": {"minutes": 5, "output": "/etc"}}, "options.output"),
        ({"options": {"minutes": 5, "source": "/etc"}}, "options.source"),
        ({"options": {"minutes": 5, "architecture": ["modern"]}}, "options.architecture"),
        ({"catalogue": "elsewhere"}, "catalogue"),
        ({"name": " "}, "name"),
        ({"sate": 1}, "sate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_under_its_name(staff: APIClient, body: dict[str, Any], field: str) -> None:
    answer = ask(staff, **body)
    assert answer.status_code == 400, answer.content
    assert field in answer.json()["error"]["fields"], answer.content
    assert not TrainingRun.objects.exists()


def test_options_that_do_not_go_together(staff: APIClient) -> None:
    answer = ask(staff, options={"minutes": 5, "size": 33})
    assert answer.status_code == 400 and "--size 33" in answer.json()["error"]["message"]


def test_a_folder_can_not_be_begun_with_from_outside(staff: APIClient, tmp_path: Path) -> None:
    """Options name no file: a path is not a model's name."""
    answer = ask(staff, options={"minutes": 5, "init": str(tmp_path)})
    assert answer.status_code == 400 and "options.init" in answer.json()["error"]["fields"]


def test_the_schema_names_every_option(staff: APIClient) -> None:
    schema = yaml.safe_load(staff.get(f"{BASE}/schema/").content)
    known = schema["components"]["schemas"]["TrainingOptions"]["properties"]
    assert set(known) == set(OPTIONS) and known["minutes"]["minimum"] == 0.01


def test_using_it_at_once_needs_the_right_to_choose(client_of: Any) -> None:
    trainer = client_of("trainer", "start_trainingrun")
    answer = ask(trainer, activate=True)
    assert answer.status_code == 403 and not TrainingRun.objects.exists()
