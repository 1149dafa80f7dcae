from __future__ import annotations

import queue
import threading
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from shopgen_django.exceptions import JobCancelled, LeaseLost, WorkerDraining
from shopgen_django.jobs import heartbeat
from shopgen_django.jobs.heartbeat import JobMonitor, beating
from shopgen_django.models import Job

from .conftest import make_job, take


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(db: None, clock: Clock) -> JobMonitor:
    return JobMonitor(take(make_job()), clock=clock, out_of_time=lambda: False)


def test_progress_is_written_at_most_once_a_second(
    monitor: JobMonitor, clock: Clock, django_assert_num_queries: Any
) -> None:
    clock.now += 2
    with django_assert_num_queries(3):
        for number in range(300):
            monitor.report(number / 300, "draw")
            monitor.check()
            clock.now += 0.01
    row = Job.objects.get()
    assert 0.5 < row.progress < 1.0
    assert row.stage == "draw"


def test_check_raises_what_happened(monitor: JobMonitor, clock: Clock) -> None:
    monitor.check()
    Job.objects.update(cancel_requested_at=timezone.now())
    clock.now += 1
    with pytest.raises(JobCancelled):
        monitor.check()
    Job.objects.update(attempt=2, max_attempts=5)
    clock.now += 1
    with pytest.raises(LeaseLost):
        monitor.check()


def test_check_gives_up_when_the_worker_runs_out_of_time(db: None, clock: Clock) -> None:
    out = [False]
    monitor = JobMonitor(take(make_job()), clock=clock, out_of_time=lambda: out[0])
    clock.now += 0.5
    monitor.check()
    out[0] = True
    clock.now += 0.5
    with pytest.raises(WorkerDraining):
        monitor.check()


def test_lease_is_no_longer_renewed_once_the_work_stands_still(monitor: JobMonitor, clock: Clock) -> None:
    assert monitor.due() == 10.0
    clock.now += 10
    assert monitor.due() == 0.0
    monitor.renew()
    assert monitor.due() == 10.0
    clock.now += 291
    assert monitor.due() == float("inf"), "no sign of the operation for over 300 s"
    monitor.report(0.5)
    assert monitor.due() < float("inf")


def test_database_that_is_away_does_not_stop_the_work(
    monitor: JobMonitor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError("no connection")

    monkeypatch.setattr(heartbeat, "beat", away)
    monkeypatch.setattr(heartbeat.connection, "close", lambda: None)
    clock.now += 5
    monitor.report(0.5)
    monitor.check()


class _Silent:
    """Stands for a monitor whose operation says nothing."""

    def __init__(self) -> None:
        self.renewed = threading.Event()
        self.by: str = ""

    def due(self) -> float:
        return float("inf") if self.renewed.is_set() else 0.0

    def renew(self) -> None:
        self.by = threading.current_thread().name
        self.renewed.set()


def test_thread_renews_and_closes_its_connection(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "JOBS": {"HEARTBEAT_SECONDS": 0.05}}
    closed: queue.Queue[str] = queue.Queue()

    class Connection:
        @staticmethod
        def close() -> None:
            closed.put(threading.current_thread().name)

    monkeypatch.setattr(heartbeat, "connection", Connection)
    silent = _Silent()
    with beating(silent):  # type: ignore[arg-type]
        assert silent.renewed.wait(10)
    again = _Silent()
    with beating(again):  # type: ignore[arg-type]
        assert again.renewed.wait(10)
    assert silent.by == again.by == "shopgen-heartbeat"
    assert [closed.get(timeout=10) for _number in range(2)] == ["shopgen-heartbeat"] * 2
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("shopgen-heartbeat") == 1, "one thread serves the whole process"
