from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from shopgen_django.jobs.entrypoints import ring
from shopgen_django.jobs.queue import BaseQueue, get_queue
from shopgen_django.jobs.queues import q2
from shopgen_django.jobs.queues.dummy import DummyQueue
from shopgen_django.jobs.queues.immediate import ImmediateQueue
from shopgen_django.jobs.queues.q2 import Q2Queue
from shopgen_django.jobs.rings import ring_missing
from shopgen_django.models import Job, JobState, UnreadableMessage
from shopgen_django.services.jobs import retry_job
from shopgen_django.services.submit import submit_job

from .conftest import make_job


@pytest.fixture
def on_q2(settings: Any, db: None) -> Iterator[Q2Queue]:
    settings.SHOPGEN = {
        **settings.SHOPGEN,
        "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.q2.Q2Queue", "OPTIONS": {"CPU": "default", "GPU": "gpu"}},
    }
    queue = get_queue()
    assert isinstance(queue, Q2Queue)
    yield queue


def test_message_carries_the_job_id_and_nothing_else(on_q2: Q2Queue) -> None:
    job, _new = submit_job(operation="stub")
    row = OrmQ.objects.get()
    task = SignedPackage.loads(row.payload)
    assert row.key == "shopgen-tests"
    assert task["func"] == "shopgen_django.jobs.entrypoints.ring"
    assert task["args"] == (str(job.pk),) and type(task["args"][0]) is str
    assert task["kwargs"] == {}
    assert (task["ack_failure"], task["save"], type(task["timeout"])) == (True, False, int)
    known = {"id", "name", "func", "args", "kwargs", "started", "ack_failure", "save", "timeout", "cluster"}
    assert set(task) <= known


def test_entrypoint_of_messages_in_the_queue_never_moves() -> None:
    """Messages outlive deploys; the names below lie in shops' queues."""
    from shopgen_django.jobs import entrypoints

    assert q2.RING == "shopgen_django.jobs.entrypoints.ring"
    assert callable(entrypoints.ring) and callable(entrypoints.sweep)


def test_clusters(on_q2: Q2Queue) -> None:
    assert (on_q2.cluster("cpu"), on_q2.cluster("gpu")) == ("shopgen-tests", "gpu")
    on_q2.notify("x", queue="gpu", hard_timeout=5)
    assert OrmQ.objects.get().key == "gpu"
    assert on_q2.worker_environment("gpu") == {"Q_CLUSTER_NAME": "gpu", "SHOPGEN_QUEUE": "gpu"}
    together = Q2Queue(CPU="default", GPU="default")
    assert together.worker_environment("cpu") == {"Q_CLUSTER_NAME": "shopgen-tests"}


def test_ring_is_undone_with_the_transaction(on_q2: Q2Queue) -> None:
    assert on_q2.supports_transactional_enqueue
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit_job(operation="stub")
        raise ZeroDivisionError
    assert (OrmQ.objects.count(), Job.objects.count()) == (0, 0)


def test_other_databases_get_the_ring_after_the_commit(settings: Any, db: None) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "orm": None}
    assert not Q2Queue().supports_transactional_enqueue


@pytest.mark.django_db(transaction=True)
def test_rolled_back_submit_rings_nothing() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit_job(operation="stub")
        raise ZeroDivisionError
    assert DummyQueue.rings == []
    job, _new = submit_job(operation="stub")
    assert DummyQueue.rings == [(str(job.pk), "cpu")]


@pytest.mark.django_db(transaction=True)
def test_crash_between_commit_and_ring_is_made_good_by_the_sweep() -> None:
    job = make_job(rung_at=timezone.now() - timedelta(minutes=2))
    fresh = make_job(rung_at=timezone.now())
    assert ring_missing() == 1
    assert DummyQueue.rings == [(str(job.pk), "cpu")]
    assert ring_missing() == 0, "it was rung for just now"
    assert fresh.pk != job.pk


def test_no_more_rings_than_ready_jobs(on_q2: Q2Queue) -> None:
    """A long queue that is worked on slowly must not be rung for over and over."""
    for _number in range(3):
        make_job(rung_at=timezone.now() - timedelta(hours=1))
    assert ring_missing() == 3
    Job.objects.update(rung_at=timezone.now() - timedelta(hours=1))
    assert on_q2.pending("cpu") == 3
    assert ring_missing() == 0
    OrmQ.objects.all()[:1].get().delete()
    assert ring_missing() == 1


def test_limits_leave_room_for_the_longest_job(on_q2: Q2Queue) -> None:
    on_q2.notify("x", queue="cpu", hard_timeout=5)
    assert SignedPackage.loads(OrmQ.objects.get().payload)["timeout"] == 900 + 2


def test_job_limit_moves_the_alarm_only_where_there_is_one(on_q2: Q2Queue) -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        on_q2.limit_job(100)
        assert signal.alarm(0) == 0
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        on_q2.limit_job(100)
        assert 98 <= signal.alarm(0) <= 100
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.django_db(transaction=True)
def test_immediate_queue_runs_after_the_commit(settings: Any) -> None:
    settings.SHOPGEN = {
        **settings.SHOPGEN, "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.immediate.ImmediateQueue", "OPTIONS": {}}
    }
    with transaction.atomic():
        job, _new = submit_job(operation="stub")
        job.refresh_from_db()
        assert job.state == JobState.QUEUED
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    assert [message.id for message in ImmediateQueue().check()] == ["shopgen.W020"]
    settings.DEBUG = True
    assert ImmediateQueue().check() == []


def test_rings_without_a_job_are_dropped_and_no_others(on_q2: Q2Queue) -> None:
    jobs = [submit_job(operation="stub")[0] for _number in range(3)]
    on_q2.notify("x", queue="gpu", hard_timeout=5)
    async_task("tests.jobs.stubs.bare.work", 0, "own task of the shop", cluster="shopgen-tests")
    OrmQ.objects.create(key="shopgen-tests", payload="unreadable", lock=timezone.now())
    OrmQ.objects.create(
        key="shopgen-tests", payload=OrmQ.objects.earliest("id").payload, lock=timezone.now() + timedelta(hours=1)
    )
    assert on_q2.drop_surplus("cpu") == 0, "jobs are ready"
    ring(str(jobs[0].pk))
    assert set(Job.objects.values_list("state", flat=True)) == {JobState.SUCCEEDED}
    assert OrmQ.objects.count() == 4, "another queue's, the shop's own, the unreadable, the one on its way"
    assert on_q2.drop_surplus("cpu") == 0


def test_ring_that_comes_while_surplus_is_dropped_stays(on_q2: Q2Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages are read first: a job that is queued right after is seen as ready, or its message was not read."""
    submit_job(operation="stub")
    Job.objects.update(state="succeeded", finished_at=timezone.now())
    is_ring = q2._is_ring

    def meanwhile(payload: str) -> bool:
        if OrmQ.objects.count() == 1:
            submit_job(operation="stub")
        return is_ring(payload)

    monkeypatch.setattr(q2, "_is_ring", meanwhile)
    assert on_q2.drop_surplus("cpu") == 0
    assert OrmQ.objects.count() == 2


def test_retry_rings_again(on_q2: Q2Queue) -> None:
    job = make_job(state="failed", error_code="x", finished_at=timezone.now(), attempt=3)
    retry_job(job=job)
    assert SignedPackage.loads(OrmQ.objects.get().payload)["args"] == (str(job.pk),)


class _Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return (__import__, ("shop_removed_by_a_deploy",))


def test_unreadable_message_is_set_aside_and_can_be_put_back(on_q2: Q2Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    in_an_hour = timezone.now() + timedelta(hours=1)
    bad = SignedPackage.dumps({"args": (_Unreadable(),)})
    on_q2.notify(str(uuid.uuid4()), queue="cpu", hard_timeout=5)
    OrmQ.objects.update(lock=in_an_hour)
    OrmQ.objects.create(key="shopgen-tests", payload=bad, lock=timezone.now())
    assert on_q2.set_aside_unreadable() == 0, "nobody has fetched it yet"
    OrmQ.objects.create(key="shopgen-tests", payload=bad, lock=in_an_hour)
    OrmQ.objects.create(key="shopgen-tests", payload="no signature", lock=in_an_hour)
    assert on_q2.set_aside_unreadable() == 2, "and with the fetched one all others of its kind"
    assert OrmQ.objects.count() == 2
    message = UnreadableMessage.objects.earliest("id")
    assert message.payload == bad and "shop_removed_by_a_deploy" in message.error
    assert on_q2.put_back() == 0
    monkeypatch.setattr(q2, "_decoding_error", lambda payload: "")
    assert on_q2.put_back() == 2
    assert OrmQ.objects.filter(payload=bad).count() == 2
    assert on_q2.put_back() == 0


def test_base_queue_has_no_workers(db: None) -> None:
    with pytest.raises(NotImplementedError, match="has no workers"):
        DummyQueue().serve("cpu")
    assert issubclass(DummyQueue, BaseQueue)
