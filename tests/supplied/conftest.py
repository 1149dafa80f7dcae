"""A shop whose models lie where its settings allow, and tiny models to put there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job
from shopgen_django.services.supplied_work import Addition, ask_addition
from tests.diffusion.conftest import sd

__all__ = ["sd"]

LICENCE, SOURCE = "CreativeML-OpenRAIL-M", "https://example.org/model"


@pytest.fixture
def boss(db: None) -> Any:
    return get_user_model().objects.create_superuser("boss", password="secret")


@pytest.fixture
def desk(boss: Any) -> Client:
    client = Client()
    client.force_login(boss)
    return client


@pytest.fixture
def root(settings: Any) -> Path:
    return Path(settings.SHOPGEN["ROOT"])


@pytest.fixture
def incoming(root: Path, sd: Path) -> Path:
    """A tiny model in the folder that models may be added from."""
    folder = root / "incoming_models" / "tiny-sd"
    shutil.copytree(sd, folder)
    return folder


def addition(**values: Any) -> Addition:
    return Addition(
        **{"path": "tiny-sd", "name": "house", "licence": LICENCE, "commercial": True, "source": SOURCE, **values}
    )


@pytest.fixture
def house(incoming: Path, boss: Any) -> Path:
    """The tiny model, added as ``house`` by a worker; its folder."""
    assert done(ask_addition(addition=addition(base="SD 1.5"), user=boss)).state == "succeeded"
    return incoming


def done(job: Job) -> Job:
    """The job after a worker has run it."""
    run_job(job.pk)
    job.refresh_from_db()
    return job


@pytest.fixture
def other_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``other_host(name)``: from now on this process is on the machine of that name."""

    def now_on(name: str) -> None:
        monkeypatch.setattr("socket.gethostname", lambda: name)

    return now_on
