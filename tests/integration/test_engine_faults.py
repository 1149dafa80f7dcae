"""The engine under fire: real workers in processes of their own, killed, stopped and told to stop."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.postgres import PrivatePostgres

from .shop import Shop, descendants, kill, still_alive

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_worker_runs_everything_once_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.submit(6, steps=2)
    worker = shop.start_worker("--until-idle")
    assert worker.wait(60) == 0, shop.log()
    assert shop.states() == {"succeeded": 6}
    assert sorted(note[0] for note in shop.notes() if note[1] == "end") == [f"t{number}" for number in range(6)]
    assert shop.sql("SELECT count(*) FROM shopgen_workerbeat") == [(0,)]
    assert shop.sql("SELECT count(*) FROM django_q_ormq") == [(0,)]


def test_both_queues_each_on_its_own_cluster(sqlite_shop: Shop) -> None:
    """Also on a machine without a GPU, where the GPU queue's work falls back to the processor and says so."""
    shop = sqlite_shop
    shop.submit(2)
    shop.sql("UPDATE shopgen_job SET queue = 'gpu' WHERE id = (SELECT max(id) FROM shopgen_job)")
    shop.sql("DELETE FROM django_q_ormq")
    shop.manage("shopgen_sweep", "--ring-all")
    assert sorted(shop.sql("SELECT key FROM django_q_ormq")) == [("gpu",), ("shopgen-tests",)]
    worker = shop.start_worker("--queues", "cpu,gpu", "--until-idle")
    assert worker.wait(120) == 0, shop.log()
    groups = {queue: name.rpartition("/")[2] for queue, name in shop.jobs("queue, worker")}
    assert set(groups) == {"cpu", "gpu"} and groups["cpu"] != groups["gpu"]
    assert shop.states() == {"succeeded": 2}


def test_kill_9_of_a_busy_worker(shop: Shop) -> None:
    """The job starts again at once, because the machine's other processes see that the worker is dead."""
    shop.submit(4, steps=20, pause=0.1)
    shop.start_worker()
    for _round in range(2):
        victim = shop.wait(shop.busy_pids, seconds=40, what="a worker is busy")[0]
        time.sleep(1.3)
        kill(victim)
        shop.wait(lambda pid=victim: pid not in shop.busy_pids(), seconds=20, what="the dead worker's job is taken")
    shop.wait(lambda: shop.all_in("succeeded"), seconds=60, what="all jobs succeed")
    assert shop.states() == {"succeeded": 4}
    outcomes = [[line["outcome"] for line in _json(history)] for (history,) in shop.jobs("history")]
    assert sum(line.count("succeeded") for line in outcomes) == 4
    assert 1 <= sum(line.count("lost") for line in outcomes) <= 2


def test_kill_9_in_the_middle_of_a_chain(sqlite_shop: Shop) -> None:
    """The whole chain is tried again; each step's picture is there once, made from the one before."""
    shop = sqlite_shop
    shop.submit(1, transport="chain", pause=1.0)
    shop.start_worker()
    shop.wait(lambda: ["s1", "start"] in [note[:2] for note in shop.notes()], seconds=40, what="the second step runs")
    kill(shop.busy_pids()[0])
    shop.wait(lambda: shop.all_in("succeeded"), seconds=60, what="the chain succeeds")
    assert [note[0] for note in shop.notes() if note[1] == "start"] == ["s0", "s1", "s0", "s1", "s2"]
    images = shop.sql("SELECT id, kind, state FROM shopgen_productimage ORDER BY kind DESC, \"index\"")
    assert [row[1:] for row in images] == [
        ("source", "draft"), ("result", "draft"), ("result", "draft"), ("result", "in_review"),
    ]  # fmt: skip
    keys = [row[0] for row in images]
    links = shop.sql("SELECT from_productimage_id, to_productimage_id FROM shopgen_productimage_parents")
    assert sorted(links) == sorted(zip(keys[1:], keys, strict=False))


def test_job_that_kills_its_worker_fails_with_the_reason_and_others_go_on(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    shop.submit(1, mode="kill")
    shop.submit(3)
    worker = shop.start_worker("--until-idle")
    assert worker.wait(90) == 0, shop.log()
    assert shop.states() == {"succeeded": 3, "failed": 1}
    [(code, attempt, detail)] = shop.sql(
        "SELECT error_code, attempt, error_detail FROM shopgen_job WHERE state = 'failed'"
    )
    assert (code, attempt) == ("worker_lost", 3)
    assert "its worker died" in detail


def test_idle_worker_killed(sqlite_shop: Shop) -> None:
    """django-q2 alone then does nothing for ever; the supervisor restarts the group."""
    shop = sqlite_shop
    shop.submit(1)
    worker = shop.start_worker()
    shop.wait(lambda: shop.all_in("succeeded"), seconds=40, what="the first job succeeds")
    for pid in shop.idle_worker_pids(worker):
        kill(pid)
    shop.submit(2)
    shop.wait(lambda: shop.all_in("succeeded"), seconds=120, what="jobs move again", every=0.5)
    assert worker.poll() is None


@pytest.mark.parametrize("told", ["main process", "process group", "every process"])
def test_sigterm_gives_running_jobs_back_without_using_an_attempt(sqlite_shop: Shop, told: str) -> None:
    """"every process" is what systemd does to a control group by default."""
    shop = sqlite_shop
    shop.env["SHOPGEN_TEST_GRACE"] = "3"
    shop.submit(3, steps=600, pause=0.1)
    worker = shop.start_worker()
    shop.wait(lambda: len(shop.busy_pids()) == 2, seconds=40, what="two jobs run")
    below = descendants(worker.pid)
    (os.killpg if told == "process group" else os.kill)(worker.pid, signal.SIGTERM)
    for pid in below if told == "every process" else ():
        os.kill(pid, signal.SIGTERM)
    assert worker.wait(30) == 0
    assert still_alive(below) == []
    rows = sorted(shop.jobs("state, attempt, max_attempts"))
    assert rows == [("queued", 0, 3), ("queued", 1, 4), ("queued", 1, 4)]


def test_second_sigterm_stops_at_once(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    shop.env["SHOPGEN_TEST_GRACE"] = "120"
    shop.submit(1, steps=1, pause=300)
    worker = shop.start_worker()
    shop.wait(shop.busy_pids, seconds=40, what="a job runs")
    worker.send_signal(signal.SIGTERM)
    shop.wait(lambda: "stopping" in shop.log(), seconds=10, what="the first signal was heard")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert shop.jobs("state, attempt, max_attempts") == [("queued", 1, 4)]


def test_kill_9_of_the_supervisor_takes_all_workers_with_it(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    shop.submit(1, steps=600, pause=0.1)
    worker = shop.start_worker()
    shop.wait(shop.busy_pids, seconds=40, what="a job runs")
    below = descendants(worker.pid)
    assert len(below) >= 5
    kill(worker.pid)
    worker.wait()
    shop.wait(lambda: not still_alive(below), seconds=20, what="no orphan is left")


def test_kill_9_of_the_clusters_main_process(sqlite_shop: Shop) -> None:
    """Its workers end with it, a new group starts, and the job does not pay for it."""
    shop = sqlite_shop
    shop.submit(1, steps=30, pause=0.1)
    worker = shop.start_worker()
    shop.wait(shop.busy_pids, seconds=40, what="a job runs")
    time.sleep(0.5)
    [main] = [pid for pid in descendants(worker.pid) if os.getsid(pid) == pid]
    kill(main)
    shop.wait(lambda: shop.all_in("succeeded"), seconds=60, what="the new group does the job")
    assert "its first process has ended" in shop.log()


@pytest.mark.postgres
def test_database_restarts_in_the_middle_of_a_job(
    postgres_server: PrivatePostgres, postgres_template: str, tmp_path: Path
) -> None:
    """The job goes on without the database and is recorded by the attempt that did it."""
    shop = Shop(tmp_path, dsn=postgres_server.create_database("engine_restart", template=postgres_template))
    shop.env |= {"SHOPGEN_TEST_LEASE": "60", "SHOPGEN_TEST_HEARTBEAT": "2"}
    try:
        shop.submit(1, steps=50, pause=0.1, outputs=1)
        shop.start_worker()
        shop.wait(shop.busy_pids, seconds=40, what="the job runs")
        time.sleep(1)
        postgres_server.crash()
        time.sleep(7)
        postgres_server.come_back()
        shop.wait(lambda: shop.all_in("succeeded"), seconds=60, what="the job's end is written down")
        assert shop.jobs("attempt") == [(1,)]
        assert shop.sql("SELECT count(*) FROM shopgen_productimage") == [(1,)]
        assert [note[1] for note in shop.notes()] == ["start", "end"]
    finally:
        shop.close()


def test_unreadable_message_is_set_aside(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    shop.manage("shell", "--no-imports", "-c", _UNREADABLE)
    shop.submit(2)
    worker = shop.start_worker("--until-idle")
    assert worker.wait(90) == 0, shop.log()
    assert shop.states() == {"succeeded": 2}
    shop.manage("shopgen_sweep")
    [(queue, error)] = shop.sql("SELECT queue_name, error FROM shopgen_unreadablemessage")
    assert queue == "shopgen-tests"
    assert "ModuleNotFoundError" in error
    assert shop.sql("SELECT count(*) FROM django_q_ormq") == [(0,)]


_UNREADABLE = """
from django.utils import timezone
from django_q import core_signing
from django_q.conf import Conf
from django_q.models import OrmQ

class Bad:
    def dumps(self, obj):
        return b"cshop_removed_by_a_deploy\\nGone\\n."

payload = core_signing.dumps({}, key=Conf.SECRET_KEY, salt=Conf.PREFIX, serializer=Bad)
OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload=payload, lock=timezone.now())
"""


def test_worker_stopped_past_its_lease_writes_nothing_late(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    shop.env["SHOPGEN_TEST_WORKERS"] = "2"
    shop.submit(1, steps=30, pause=0.1, outputs=1)
    shop.start_worker()
    [victim] = shop.wait(shop.busy_pids, seconds=40, what="the job runs")
    time.sleep(0.5)
    os.kill(victim, signal.SIGSTOP)
    try:
        shop.wait(lambda: victim not in shop.busy_pids(), seconds=40, what="the lease runs out")
        shop.wait(lambda: shop.all_in("succeeded"), seconds=60, what="the second attempt succeeds")
    finally:
        if still_alive([victim]):
            os.kill(victim, signal.SIGCONT)
    ended = lambda: "attempt 1: lost" in shop.log() or not still_alive([victim])  # noqa: E731
    shop.wait(ended, seconds=30, what="the late one ends")
    [(state, attempt)] = shop.jobs("state, attempt")
    assert (state, attempt) == ("succeeded", 2)
    images = shop.sql("SELECT file FROM shopgen_productimage")
    assert len(images) == 1
    assert "/2/" in images[0][0]
    files = list((shop.folder / "shopgen" / "files" / "results").rglob("*.png"))
    assert len(files) == 1


def test_job_longer_than_its_lease_runs_once(sqlite_shop: Shop) -> None:
    """Silent for twice the lease: the heartbeat thread renews it."""
    shop = sqlite_shop
    shop.env |= {"SHOPGEN_TEST_LEASE": "3", "SHOPGEN_TEST_HEARTBEAT": "1"}
    shop.submit(1, steps=1, pause=7, silent=True)
    worker = shop.start_worker("--until-idle")
    assert worker.wait(60) == 0
    assert shop.jobs("state, attempt") == [("succeeded", 1)]
    assert [note[1] for note in shop.notes()] == ["start", "end"]


@pytest.mark.parametrize(("mode", "code"), [("hang", "timeout"), ("deaf", "worker_lost")])
def test_job_over_its_time_limit(sqlite_shop: Shop, mode: str, code: str) -> None:
    """Interrupted at its limit; one that can't be interrupted is killed a little later."""
    shop = sqlite_shop
    shop.env |= {"SHOPGEN_TEST_HARD": "2", "SHOPGEN_TEST_LEASE": "60", "SHOPGEN_TEST_HEARTBEAT": "10"}
    shop.submit(1, mode=mode)
    shop.sql("UPDATE shopgen_job SET max_attempts = 2")
    worker = shop.start_worker("--until-idle")
    assert worker.wait(90) == 0, shop.log()
    assert shop.jobs("state, error_code, attempt") == [("failed", code, 2)]


def test_health_command(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    before = shop.manage("shopgen_health", check=False)
    assert before.returncode == 1
    assert "No worker is running" in before.stdout
    shop.start_worker()
    shop.wait(lambda: shop.sql("SELECT count(*) FROM shopgen_workerbeat") == [(1,)], seconds=40, what="a beat")
    after = shop.manage("shopgen_health", check=False)
    assert after.returncode == 0, after.stdout
    assert "cpu: ok. Idle." in after.stdout


def _json(value: object) -> list[dict[str, str]]:
    return json.loads(value) if isinstance(value, str) else value

