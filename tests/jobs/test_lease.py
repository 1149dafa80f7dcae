from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from shopgen_django.jobs import lease as leases
from shopgen_django.jobs.lease import Beat
from shopgen_django.models import Job, JobState

from .conftest import let_lease_run_out, let_pause_end, make_job, take

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["one statement", "in steps"], autouse=True)
def way_of_claiming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for both ways of claiming."""
    if request.param == "in steps":
        monkeypatch.setattr(leases, "_can_return", lambda database: False)


def test_claim_takes_the_best_ready_job_of_the_queue() -> None:
    old = make_job()
    urgent = make_job(priority=5)
    make_job(queue="gpu", priority=9)
    make_job(priority=9, not_before=timezone.now() + timedelta(hours=1))
    make_job(priority=9, cancel_requested_at=timezone.now())
    order = [leases.claim(worker="w", queue="cpu") for _number in range(3)]
    assert [lease and lease.job.pk for lease in order] == [urgent.pk, old.pk, None]


def test_claim_counts_the_attempt_and_sets_the_lease() -> None:
    job = make_job(error_code="worker_lost", error_detail="before", progress=0.5, stage="before")
    lease = take(job, "w1")
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.attempt, row.worker, lease.token) == (JobState.RUNNING, 1, "w1", 1)
    assert (row.progress, row.stage, row.error_code, row.error_detail) == (0.0, "", "", "")
    assert row.lease_until is not None and row.started_at is not None and row.heartbeat_at is not None
    assert timedelta(seconds=50) < row.lease_until - row.started_at < timedelta(seconds=70)


def test_claim_leaves_a_job_without_attempts() -> None:
    make_job(attempt=3, max_attempts=3)
    assert leases.claim(worker="w", queue="cpu") is None


def test_lost_race_for_a_row_is_no_claim() -> None:
    job = make_job()
    assert leases._take(job, "first")
    stale = Job.objects.get(pk=job.pk)
    stale.attempt = 0
    assert not leases._take(stale, "second")


def test_beat_renews_and_writes_progress() -> None:
    lease = take(make_job())
    before = Job.objects.get(pk=lease.job.pk).lease_until
    assert leases.beat(lease, progress=1.5, stage="x" * 100) is Beat.HELD
    row = Job.objects.get(pk=lease.job.pk)
    assert before is not None and row.lease_until is not None and row.lease_until >= before
    assert (row.progress, row.stage) == (1.0, "x" * 64)


def test_beat_tells_of_a_cancel_and_of_a_loss() -> None:
    lease = take(make_job())
    Job.objects.update(cancel_requested_at=timezone.now())
    assert leases.beat(lease) is Beat.CANCELLED
    Job.objects.update(attempt=2)
    assert leases.beat(lease) is Beat.LOST


def test_late_worker_changes_nothing_whatever_it_tries() -> None:
    """The fence: a second worker has the job, so each word of the first is ignored."""
    late = take(make_job(), "late")
    let_lease_run_out(late.job)
    assert leases.take_from_worker(Job.objects.get(), expired=True) == "requeued"
    second = take(late.job, "second")
    before = Job.objects.values().get()
    assert leases.beat(late, progress=0.9) is Beat.LOST
    assert not leases.finish(late)
    assert not leases.fail_or_requeue(late, code="x", detail="x")
    assert not leases.cancelled(late)
    assert not leases.release(late)
    assert Job.objects.values().get() == before
    assert leases.finish(second)
    assert not leases.has_won(late)
    assert leases.has_won(second)


def test_finish_is_refused_after_a_cancel() -> None:
    lease = take(make_job())
    Job.objects.update(cancel_requested_at=timezone.now())
    assert not leases.finish(lease)
    assert leases.cancelled(lease)
    assert Job.objects.get().state == JobState.CANCELLED


@pytest.mark.parametrize("end", ["fail", "last", "release"])
def test_job_with_a_cancel_never_goes_back_to_the_queue(end: str) -> None:
    """Nobody would take it there, and it would count as waiting for ever."""
    lease = take(make_job(max_attempts=1 if end == "last" else 3))
    Job.objects.update(cancel_requested_at=timezone.now())
    if end == "release":
        assert leases.release(lease) == "cancelled"
    else:
        assert leases.fail_or_requeue(lease, code="x", detail="x") == "cancelled"
    assert Job.objects.get().state == JobState.CANCELLED


def test_cancel_between_a_sweepers_look_and_its_grasp() -> None:
    job = make_job()
    take(job)
    let_lease_run_out(job)
    seen = Job.objects.get()
    Job.objects.update(cancel_requested_at=timezone.now())
    assert leases.take_from_worker(seen, expired=True) == ""
    assert leases.take_from_worker(Job.objects.get(), expired=True) == "cancelled"


def test_failed_attempts_pause_longer_each_time_then_fail() -> None:
    job, pauses = make_job(max_attempts=3), []
    for _number in range(2):
        lease = take(job)
        assert leases.fail_or_requeue(lease, code="not_now", detail="Busy.")
        row = Job.objects.get()
        assert (row.state, row.error_code, row.rung_at) == (JobState.QUEUED, "not_now", None)
        pauses.append((row.not_before - timezone.now()).total_seconds())
        assert leases.claim(worker="w", queue="cpu") is None
        let_pause_end(job)
    assert 12 < pauses[0] < 18 and 25 < pauses[1] < 35
    assert leases.fail_or_requeue(take(job), code="not_now", detail="Busy.")
    row = Job.objects.get()
    assert (row.state, row.error_code, row.error_detail, row.attempt) == (JobState.FAILED, "not_now", "Busy.", 3)
    assert [(line["attempt"], line["outcome"], line["code"]) for line in row.history] == [
        (1, "retried", "not_now"), (2, "retried", "not_now"), (3, "failed", "not_now")
    ]


def test_permanent_error_is_not_tried_again() -> None:
    lease = take(make_job())
    leases.fail_or_requeue(lease, code="refused", detail="No.", permanent=True)
    assert Job.objects.get().state == JobState.FAILED


def test_backoff_doubles_up_to_its_bound(settings: Any) -> None:
    for attempt, middle in ((1, 15), (2, 30), (3, 60), (7, 600), (40, 600)):
        values = [leases.backoff(attempt) for _number in range(50)]
        assert min(values) >= middle * 0.9 and max(values) <= middle * 1.1
        assert max(values) > min(values)


def test_release_does_not_use_up_an_attempt() -> None:
    job = make_job(max_attempts=1)
    assert leases.release(take(job))
    row = Job.objects.get()
    assert (row.state, row.attempt, row.max_attempts, row.rung_at) == (JobState.QUEUED, 1, 2, None)
    assert leases.finish(take(job))
    assert Job.objects.get().attempt == 2


def test_losses_without_progress_are_poison() -> None:
    job = make_job(max_attempts=10)
    outcomes = []
    for _number in range(leases.POISON_LOSSES):
        Job.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        take(job)
        let_lease_run_out(job)
        outcomes.append(leases.take_from_worker(Job.objects.get(), expired=True))
    assert outcomes == ["requeued", "requeued", "failed"]
    row = Job.objects.get()
    assert (row.error_code, row.attempt) == ("worker_lost", 3)
    assert "worker died" in row.error_detail


def test_losses_with_progress_are_not_poison_but_use_up_attempts() -> None:
    job = make_job(max_attempts=3)
    outcomes = []
    for _number in range(3):
        leases.beat(take(job), progress=0.5)
        let_lease_run_out(job)
        outcomes.append(leases.take_from_worker(Job.objects.get(), expired=True))
        let_pause_end(job)
    assert outcomes == ["requeued", "requeued", "failed"]


def test_loss_of_a_cancelled_job_cancels_it() -> None:
    job = make_job()
    take(job)
    Job.objects.update(cancel_requested_at=timezone.now())
    let_lease_run_out(job)
    assert leases.take_from_worker(Job.objects.get(), expired=True) == "cancelled"


def test_job_that_was_renewed_meanwhile_is_not_taken() -> None:
    lease = take(make_job())
    let_lease_run_out(lease.job)
    seen = Job.objects.get()
    leases.beat(lease)
    assert leases.take_from_worker(seen, expired=True) == ""
    assert Job.objects.get().state == JobState.RUNNING


def test_innocent_job_keeps_its_attempts() -> None:
    take(make_job(max_attempts=1))
    assert leases.take_from_worker(Job.objects.get(), innocent=True) == "requeued"
    row = Job.objects.get()
    assert (row.attempt, row.max_attempts, row.lost_leases) == (1, 2, 0)
    assert row.history[-1]["outcome"] == "released"
