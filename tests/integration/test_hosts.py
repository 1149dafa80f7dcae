"""Work shared by two hosts that have nothing in common but a database and an object store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import PrivatePostgres

from .hosts import Host, ObjectStore, namespaces

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.postgres]
_numbers = count()

READ_ALL = """
from shopgen_django.models import ProductImage
from shopgen_django.storage import read_image
for image in ProductImage.objects.filter(kind="result"):
    print(len(read_image(image)), image.file.name)
"""

REGISTER = """
import sys
from pathlib import Path
from shopgen_django.ml.loop import train
from shopgen_django.services.models import register_version
from tests.ml.photos import make_folder, tiny
folder = Path(sys.argv[1])
train(tiny(make_folder(folder.parent / "photos", 20), folder, width=8))
print(register_version(folder=folder, name="hats", activate=True).pk)
"""

GENERATE = """
from shopgen_django.services.submit import submit_job
print(submit_job(operation="generate", params={"count": 2})[0].pk)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path_factory.mktemp("store") / "log")
    yield store
    store.stop()


@pytest.fixture
def hosts(
    store: ObjectStore, postgres_server: PrivatePostgres, postgres_template: str, tmp_path: Path
) -> Iterator[tuple[Host, Host]]:
    """Two hosts, no worker started yet."""
    if not namespaces():
        text = "This system lets this user make no namespaces, so it can't play several hosts."
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    dsn = postgres_server.create_database(f"hosts_{next(_numbers)}", template=postgres_template)
    made = tuple(Host(name, tmp_path / name, dsn=dsn, store=store) for name in ("gpu-1", "gpu-2"))
    yield made[0], made[1]
    for host in made:
        host.close()


def _hosts_of(host: Host) -> set[str]:
    return {name.partition("/")[0] for (name,) in host.jobs("worker")}


def test_both_take_from_one_queue_and_a_lost_host_costs_nothing(hosts: tuple[Host, Host], store: ObjectStore) -> None:
    first, second = hosts
    first.submit(10, steps=12, pause=0.1, outputs=1)
    for host in hosts:
        host.start_worker()
    first.wait(lambda: len(_hosts_of(first) - {""}) == 2, seconds=90, what="both hosts have taken a job")
    first.wait(
        lambda: first.sql("SELECT id FROM shopgen_job WHERE state = 'running' AND worker LIKE 'gpu-1/%%'"),
        seconds=30, what="the host that is to be lost is busy", every=0.02,
    )  # fmt: skip
    first.lose()
    second.wait(lambda: second.all_in("succeeded"), seconds=90, what="the other host does the rest")
    outcomes = [[line["outcome"] for line in _json(history)] for (history,) in second.jobs("history")]
    assert sum(line.count("succeeded") for line in outcomes) == 10
    assert sum(line.count("lost") for line in outcomes) == 1, "the job of the lost host, and it alone, ran twice"
    pictures = second.python(READ_ALL).splitlines()
    assert len(pictures) == 10
    assert {line.split()[1] for line in pictures} == set(store.names("results/")), "no file without a row"
    assert not any((host.folder / "shopgen" / "files").exists() for host in hosts), "nothing private lies on a host"


def test_a_model_trained_on_one_host_is_run_by_the_other(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    first, second = hosts
    folder = first.folder / "shopgen" / "runs" / "hats"
    version = first.python(REGISTER, str(folder)).strip()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    second.python(GENERATE)
    worker = second.start_worker("--until-idle")
    assert worker.wait(120) == 0, second.log()
    assert second.states() == {"succeeded": 1}, second.jobs("error_detail")
    assert len(second.python(READ_ALL).splitlines()) == 2
    assert (second.folder / "shopgen" / "versions" / version / "model.safetensors").is_file()


def test_a_store_that_answers_nothing_is_waited_for(hosts: tuple[Host, Host], store: ObjectStore) -> None:
    """The job goes back with the reason, and is done when the store is there again."""
    first, _second = hosts
    first.submit(1, steps=1, outputs=1)
    store.freeze()
    try:
        first.start_worker()
        first.wait(
            lambda: first.sql("SELECT 1 FROM shopgen_job WHERE error_code = 'storage_unavailable'"), seconds=90,
            what="the job says that the storage is away",
        )  # fmt: skip
    finally:
        store.thaw()
    first.wait(lambda: first.all_in("succeeded"), seconds=60, what="the job succeeds")
    [(attempt, history)] = first.jobs("attempt, history")
    assert attempt >= 2 and {line["code"] for line in _json(history)[:-1]} == {"storage_unavailable"}
    assert len(first.python(READ_ALL).splitlines()) == 1


def _json(value: object) -> list[dict[str, str]]:
    return json.loads(value) if isinstance(value, str) else value  # type: ignore[return-value]
