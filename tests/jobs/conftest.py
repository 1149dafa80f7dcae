from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from shopgen_django.jobs import lease as leases
from shopgen_django.jobs.lease import Lease
from shopgen_django.models import Job
from shopgen_django.operations import registry


@pytest.fixture(autouse=True)
def stubs() -> Iterator[None]:
    """The stub operations are known in these tests and nowhere else."""
    from .stubs.shopgen_operations import Stub, StubCopy

    for operation in (Stub, StubCopy):
        registry.register(operation)
    yield
    for operation in (Stub, StubCopy):
        registry.unregister(operation.name)


def make_job(**fields: Any) -> Job:
    """A queued stub job as the submit service would write it."""
    params = {"mode": "ok", "steps": 1, "pause": 0.0, "outputs": 0, "silent": False, "tag": "t", "seed": None}
    params |= fields.pop("params", {})
    job = Job.objects.create(operation=fields.pop("operation", "stub"), params=params, **fields)
    job.refresh_from_db()
    return job


def take(job: Job, worker: str = "here") -> Lease:
    """Claim, and be sure that it was this job."""
    lease = leases.claim(worker=worker, queue=job.queue)
    assert lease is not None and lease.job.pk == job.pk
    return lease


def let_lease_run_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk, state="running").update(lease_until=timezone.now() - timedelta(seconds=1))


def let_pause_end(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now() - timedelta(seconds=1))
