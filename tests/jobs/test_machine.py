"""Random lives of jobs: whatever workers, sweepers and people do, each job has its effect at most once."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import settings, strategies
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from shopgen_django.exceptions import InvalidState
from shopgen_django.jobs import lease as leases
from shopgen_django.jobs.lease import Beat, Lease
from shopgen_django.models import FINISHED_JOB_STATES, Job, JobState
from shopgen_django.services.jobs import cancel_job, retry_job

from .conftest import make_job

EXAMPLES = int(os.environ.get("SHOPGEN_TEST_EXAMPLES", "20"))


class JobLives(RuleBasedStateMachine):
    """``effects`` counts the times that a finish was accepted between two submissions or retries of a job."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        Job.objects.all().delete()
        self.effects: dict[Any, int] = {}
        self.tokens: dict[Any, int] = {}
        self.retried: dict[Any, int] = {}

    @rule(priority=strategies.integers(-2, 2), attempts=strategies.integers(1, 4))
    def submit(self, priority: int, attempts: int) -> None:
        job = make_job(priority=priority, max_attempts=attempts)
        self.effects[job.pk] = self.tokens[job.pk] = self.retried[job.pk] = 0

    @rule(target=held)
    def claim(self) -> Any:
        best = Job.objects.ready("cpu").first()
        lease = leases.claim(worker="w", queue="cpu")
        if lease is None:
            assert best is None
            return multiple()
        assert best is not None and best.pk == lease.job.pk
        assert lease.token == self.tokens[best.pk] + 1, "tokens count up one by one"
        self.tokens[best.pk] = lease.token
        return lease

    @rule(lease=held, share=strategies.floats(0, 1))
    def beat(self, lease: Lease, share: float) -> None:
        current = self._is_current(lease)
        assert (leases.beat(lease, progress=share) is Beat.LOST) == (not current)

    @rule(lease=held)
    def finish(self, lease: Lease) -> None:
        row = Job.objects.get(pk=lease.job.pk)
        accepted = leases.finish(lease)
        assert accepted == (self._is_current(lease, row) and row.cancel_requested_at is None)
        if accepted:
            self.effects[row.pk] += 1

    @rule(lease=held, permanent=strategies.booleans())
    def fail(self, lease: Lease, permanent: bool) -> None:
        row = Job.objects.get(pk=lease.job.pk)
        last = permanent or lease.token >= lease.job.max_attempts
        expected = self._expected(lease, row, "failed" if last else "requeued")
        assert leases.fail_or_requeue(lease, code="x", detail="x", permanent=permanent) == expected

    @rule(lease=held)
    def drain(self, lease: Lease) -> None:
        expected = self._expected(lease, Job.objects.get(pk=lease.job.pk), "released")
        assert leases.release(lease) == expected

    @rule(lease=held)
    def obey_cancel(self, lease: Lease) -> None:
        row = Job.objects.get(pk=lease.job.pk)
        if row.cancel_requested_at is not None:
            assert leases.cancelled(lease) == self._is_current(lease, row)

    @rule()
    def leases_run_out(self) -> None:
        Job.objects.filter(state=JobState.RUNNING).update(lease_until=timezone.now() - timedelta(seconds=1))

    @rule()
    def sweep(self) -> None:
        for job in Job.objects.expired():
            assert leases.take_from_worker(job, expired=True) in {"requeued", "failed", "cancelled"}

    @rule()
    def pauses_end(self) -> None:
        Job.objects.filter(state=JobState.QUEUED).update(not_before=timezone.now() - timedelta(seconds=1))

    @rule(number=strategies.integers(0, 5))
    def cancel(self, number: int) -> None:
        job = self._job(number)
        if job is None:
            return
        finished = job.state in FINISHED_JOB_STATES and job.state != JobState.CANCELLED
        try:
            cancel_job(job=job)
            assert job.state in {JobState.CANCELLED, JobState.RUNNING}
        except InvalidState:
            assert finished

    @rule(number=strategies.integers(0, 5))
    def retry(self, number: int) -> None:
        job = self._job(number)
        if job is None:
            return
        if job.state in {JobState.FAILED, JobState.CANCELLED}:
            retry_job(job=job)
            self.retried[job.pk] += 1
        else:
            with pytest.raises(InvalidState):
                retry_job(job=job)

    @invariant()
    def each_job_has_its_effect_once(self) -> None:
        for job in Job.objects.all():
            assert self.effects[job.pk] == int(job.state == JobState.SUCCEEDED)

    @invariant()
    def no_job_waits_that_nobody_will_take(self) -> None:
        assert not Job.objects.filter(state=JobState.QUEUED, cancel_requested_at__isnull=False).exists()

    @invariant()
    def rows_make_sense(self) -> None:
        for job in Job.objects.all():
            assert job.attempt == self.tokens[job.pk]
            assert job.attempt <= job.max_attempts
            assert (job.state == JobState.RUNNING) == (job.lease_until is not None)
            assert (job.state in FINISHED_JOB_STATES) == (job.finished_at is not None)
            ended = len(job.history)
            assert ended == job.attempt - int(job.state == JobState.RUNNING), "each ended attempt leaves one line"

    def _is_current(self, lease: Lease, row: Job | None = None) -> bool:
        row = row or Job.objects.get(pk=lease.job.pk)
        return row.state == JobState.RUNNING and row.attempt == lease.token

    def _expected(self, lease: Lease, row: Job, outcome: str) -> str:
        if not self._is_current(lease, row):
            return ""
        return outcome if row.cancel_requested_at is None else "cancelled"

    def _job(self, number: int) -> Job | None:
        jobs = list(Job.objects.order_by("created_at", "id"))
        return jobs[number % len(jobs)] if jobs else None


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["one statement", "in steps"])
def test_lives_of_jobs(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "in steps":
        monkeypatch.setattr(leases, "_can_return", lambda database: False)
    run_state_machine_as_test(
        JobLives, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None, print_blob=True)
    )
