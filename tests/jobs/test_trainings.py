"""Which trainings a worker starts, without starting any; real processes are in tests/integration/test_trainings.py."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from shopgen_django.jobs.identity import worker_name
from shopgen_django.jobs.trainings import Trainings
from shopgen_django.models import RunState, TrainingRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Names of the runs whose process would have been started, and whether for an estimate."""
    found: list[tuple[str, bool]] = []
    monkeypatch.setattr(Trainings, "_spawn", lambda self, run, *, estimate: found.append((run.name, estimate)))
    return found


def run(name: str, state: str, **fields: Any) -> TrainingRun:
    return TrainingRun.objects.create(name=name, state=state, output_dir=f"/x/{name}", order={"options": {}}, **fields)


def test_one_training_and_one_estimate_at_a_time(started: list[tuple[str, bool]], settings: Any) -> None:
    for name in ("first", "second", "third"):
        run(name, RunState.QUEUED)
        run(f"{name} estimate", RunState.ESTIMATING)
    trainings = Trainings(lambda text: None)
    for _time in range(3):
        trainings.look()
    assert started == [("first estimate", True), ("first", False)]
    settings.SHOPGEN = {**settings.SHOPGEN, "TRAINING": {"AT_ONCE": 2}}
    trainings.look()
    assert started[-1] == ("second", False)
    assert TrainingRun.objects.get(name="third").state == RunState.QUEUED


def test_it_waits_for_its_own_estimate_but_not_for_ever(started: list[tuple[str, bool]]) -> None:
    """The estimate may be made on another machine, and that machine may be gone."""
    elsewhere = "elsewhere/boot/1/2/3/"
    row = run("hats", RunState.QUEUED, process=elsewhere, heartbeat_at=timezone.now())
    Trainings(lambda text: None).look()
    assert started == []
    TrainingRun.objects.filter(pk=row.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=20))
    Trainings(lambda text: None).look()
    row.refresh_from_db()
    assert started == [("hats", False)] and (row.state, row.process) == (RunState.RUNNING, worker_name())


def test_one_that_goes_on_does_so_where_its_snapshots_lie(started: list[tuple[str, bool]], tmp_path: Path) -> None:
    waiting = run("hats", RunState.QUEUED, images_seen=5_000, host="gpu-2")
    run("shoes", RunState.QUEUED)
    trainings = Trainings(lambda text: None)
    trainings.look()
    waiting.refresh_from_db()
    assert started == [("shoes", False)], "it holds up nobody"
    assert waiting.state == RunState.QUEUED and "gpu-2" in waiting.stage
    TrainingRun.objects.filter(name="shoes").update(state=RunState.STOPPED, process="")
    TrainingRun.objects.filter(name="hats").update(output_dir=str(tmp_path))
    trainings.look()
    assert started[-1] == ("hats", False), "hosts that share the folder share its runs"


def test_a_worker_that_leaves_starts_nothing_more(started: list[tuple[str, bool]]) -> None:
    run("hats", RunState.QUEUED)
    trainings = Trainings(lambda text: None)
    trainings.leave()
    trainings.look()
    assert started == []
