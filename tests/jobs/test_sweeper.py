from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from shopgen_django.jobs import drain, entrypoints
from shopgen_django.jobs.files import remove_attempt_files, sweep_files
from shopgen_django.jobs.health import queue_health
from shopgen_django.jobs.identity import is_dead, parse_name, worker_name
from shopgen_django.jobs.queues.dummy import DummyQueue
from shopgen_django.jobs.sweeper import expire_jobs, mark_lost_runs, recover, release_group, sweep
from shopgen_django.models import (
    ImageState,
    Job,
    JobState,
    MetricPoint,
    ProductImage,
    Publication,
    RunState,
    TrainingRun,
    UnreadableMessage,
    WorkerBeat,
)
from shopgen_django.services.retention import apply_retention
from shopgen_django.storage import private_storage, result_name, save_bytes
from tests.factories import make_image

from .conftest import let_lease_run_out, make_job, take

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def dead_worker() -> str:
    """The name of a worker process of this machine that has ended."""
    script = "from shopgen_django.jobs.identity import worker_name; print(worker_name())"
    return subprocess.check_output([sys.executable, "-c", script], text=True).strip()


def test_names_of_living_dead_and_foreign_workers(dead_worker: str) -> None:
    assert not is_dead(worker_name())
    assert is_dead(dead_worker)
    name = parse_name(dead_worker)
    assert name is not None
    for field, value in (("host", "elsewhere"), ("boot", "12345678"), ("namespace", "1")):
        parts = {part: getattr(name, part) for part in ("host", "boot", "namespace", "pid", "started", "group")}
        assert not is_dead("/".join(str(part) for part in (parts | {field: value}).values())), "not ours to judge"
    assert not is_dead("") and not is_dead("a/b/c/d/e/f")
    assert len(worker_name()) <= 128
    recycled = worker_name().split("/")
    recycled[4] = "1"
    assert is_dead("/".join(recycled)), "another process has the number now"


@pytest.mark.django_db(transaction=True)
def test_recover_takes_from_the_lost_and_leaves_the_living(dead_worker: str) -> None:
    living, dead, late = make_job(), make_job(), make_job()
    take(living, worker_name())
    take(dead, dead_worker)
    take(late, "elsewhere/x/1/1/1/")
    let_lease_run_out(late)
    name = save_bytes(result_name(dead.pk, 1, 0, "a" * 64, "PNG"), b"half done")
    recovered = recover()
    assert (recovered.requeued, recovered.failed, recovered.cancelled, recovered.rung) == (2, 0, 0, 2)
    assert dict(Job.objects.values_list("pk", "state")) == {
        living.pk: JobState.RUNNING, dead.pk: JobState.QUEUED, late.pk: JobState.QUEUED
    }
    assert {job for job, _queue in DummyQueue.rings} == {str(dead.pk), str(late.pk)}
    assert not private_storage().exists(name)
    assert recover() == type(recovered)()


def test_release_of_a_group() -> None:
    ours, other = make_job(), make_job()
    take(ours, "h/b/1/2/3/group1")
    take(other, "h/b/1/2/3/group2")
    assert release_group("group1") == 1
    ours.refresh_from_db()
    other.refresh_from_db()
    assert (ours.state, ours.max_attempts, other.state) == (JobState.QUEUED, 4, JobState.RUNNING)


def test_jobs_expire_only_when_asked_for(settings: Any) -> None:
    old, _new, tried = make_job(), make_job(), make_job(attempt=1)
    Job.objects.filter(pk__in=(old.pk, tried.pk)).update(created_at=timezone.now() - timedelta(hours=2))
    assert expire_jobs() == 0
    settings.SHOPGEN = {**settings.SHOPGEN, "JOBS": {"EXPIRE_SECONDS": 3600}}
    assert expire_jobs() == 1
    old.refresh_from_db()
    assert (old.state, old.error_code) == (JobState.FAILED, "expired")


def test_training_runs_whose_process_is_gone() -> None:
    def run(**fields: Any) -> TrainingRun:
        fields.setdefault("heartbeat_at", timezone.now())
        return TrainingRun.objects.create(name="r", output_dir=f"/x/{TrainingRun.objects.count()}", **fields)

    ago = timezone.now() - timedelta(minutes=2)
    alive = run(host=socket.gethostname(), pid=os.getpid(), heartbeat_at=ago)
    gone = run(host=socket.gethostname(), pid=2**22 + 1, heartbeat_at=ago)
    elsewhere = run(host="elsewhere", pid=1, heartbeat_at=ago)
    silent = run(host="elsewhere", pid=1, heartbeat_at=timezone.now() - timedelta(hours=1))
    assert mark_lost_runs() == 2
    states = dict(TrainingRun.objects.values_list("pk", "state"))
    assert [states[one.pk] for one in (alive, gone, elsewhere, silent)] == [
        RunState.RUNNING, RunState.LOST, RunState.RUNNING, RunState.LOST
    ]
    gone.refresh_from_db()
    assert gone.finished_at is not None and "run the same command again" in gone.error


def test_files_without_a_row_go_when_they_are_old(settings: Any) -> None:
    image = make_image(file=save_bytes(result_name("j", 1, 0, "b" * 64, "PNG"), b"x"))
    names = [save_bytes(result_name("j", 2, index, "c" * 64, "PNG"), b"x") for index in range(2)]
    storage = private_storage()
    for name in (names[0], str(image.file.name)):
        os.utime(storage.path(name), (0, 0))
    assert sweep_files() == 1
    assert [storage.exists(name) for name in (*names, str(image.file.name))] == [False, True, True]
    settings.SHOPGEN = {**settings.SHOPGEN, "RETENTION": {"ORPHAN_FILES_HOURS": None}}
    os.utime(storage.path(names[1]), (0, 0))
    assert sweep_files() == 0


def test_files_that_are_not_ours_are_never_swept() -> None:
    """A shop may have its own results/ or sources/ in the storage that it lends us."""
    names = ["results/2026/report.pdf", "sources/logo.png", "sources/ab/logo.png", f"results/{'a' * 64}.png"]
    storage = private_storage()
    for name in names:
        save_bytes(name, b"the shop's own")
        os.utime(storage.path(name), (0, 0))
    assert sweep_files() == 0
    assert all(storage.exists(name) for name in names)


def test_files_of_an_attempt_stay_when_rows_point_to_them() -> None:
    job = make_job()
    kept = save_bytes(result_name(job.pk, 1, 0, "d" * 64, "PNG"), b"x")
    lost = save_bytes(result_name(job.pk, 1, 1, "e" * 64, "PNG"), b"x")
    make_image(file=kept)
    assert remove_attempt_files(job.pk, 1) == 1
    assert private_storage().exists(kept) and not private_storage().exists(lost)


def test_whole_sweep_and_its_commands() -> None:
    WorkerBeat.objects.create(
        group="old", queue="cpu", host="h", pid=1, workers=1, beat_at=timezone.now() - timedelta(days=1)
    )
    assert sweep().set_aside == 0
    assert WorkerBeat.objects.count() == 0
    out = StringIO()
    call_command("shopgen_sweep", "--ring-all", "--put-back", stdout=out)
    assert "0 back in the queue" in out.getvalue() and "put back: 0" in out.getvalue()
    entrypoints.sweep()


def test_sweep_before_a_claim_is_rare_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("no")

    monkeypatch.setattr("shopgen_django.jobs.sweeper.recover", broken)
    job = make_job()
    entrypoints.ring(str(job.pk))
    assert calls == []
    monkeypatch.setattr(entrypoints, "_swept", -1e9)
    second = make_job()
    entrypoints.ring(str(second.pk))
    entrypoints.ring(str(second.pk))
    assert calls == [1]
    second.refresh_from_db()
    assert second.state == JobState.SUCCEEDED


def test_draining_worker_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(drain.RUN_DIR_VARIABLE, str(tmp_path))
    job = make_job()
    assert not drain.draining() and not drain.out_of_time()
    drain.request_drain(tmp_path, seconds=3600)
    assert drain.draining() and not drain.out_of_time()
    entrypoints.ring(str(job.pk))
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    assert (tmp_path / f"alive-{os.getpid()}").exists()
    drain.request_drain(tmp_path, seconds=0)
    assert drain.out_of_time()


def test_orphan_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv("SHOPGEN_SUPERVISOR_PID", str(ended.pid))
    assert drain.orphaned()
    entrypoints.ring(str(job.pk))
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    monkeypatch.setenv("SHOPGEN_SUPERVISOR_PID", str(os.getppid()))
    assert not drain.orphaned()


def test_health(django_assert_num_queries: Any) -> None:
    def beat(**fields: Any) -> None:
        WorkerBeat.objects.update_or_create(
            group="g", defaults={"queue": "cpu", "host": "h", "pid": 1, "workers": 2, **fields}
        )

    with django_assert_num_queries(2):
        [health] = queue_health()
    assert (health.queue, health.ok, health.ready, health.workers_alive) == ("cpu", False, 0, 0)
    beat(beat_at=timezone.now())
    [health] = queue_health()
    assert (health.ok, health.workers_alive, health.status) == (True, 2, "Idle.")
    job = make_job()
    Job.objects.update(created_at=timezone.now() - timedelta(minutes=5), not_before=timezone.now())
    [health] = queue_health()
    assert health.ok and health.ready == 1, "it became ready just now, after a pause"
    Job.objects.update(not_before=timezone.now() - timedelta(minutes=5))
    [health] = queue_health()
    assert not health.ok and health.oldest_ready_seconds is not None and health.oldest_ready_seconds > 290
    take(job)
    make_job()
    beat(beat_at=timezone.now() - timedelta(minutes=5))
    [health] = queue_health()
    assert health.ok and health.running == 1, "a lease that holds is a sign of life as well"
    let_lease_run_out(job)
    [health] = queue_health()
    assert not health.ok and health.lost == 1
    make_job(queue="gpu")
    assert [health.queue for health in queue_health()] == ["cpu", "gpu"]


def test_health_command() -> None:
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("shopgen_health", stdout=out)
    assert "NOT OK" in out.getvalue()
    WorkerBeat.objects.create(group="g", queue="cpu", host="h", pid=1, workers=1)
    out = StringIO()
    call_command("shopgen_health", "--json", stdout=out)
    assert '"ok": true' in out.getvalue()


def test_retention(settings: Any, django_capture_on_commit_callbacks: Any) -> None:
    long_ago = timezone.now() - timedelta(days=40)
    finished = make_job(state="succeeded", finished_at=long_ago)
    make_job(state="succeeded", finished_at=timezone.now())
    make_job(state="failed", finished_at=long_ago, error_code="x")
    make_job()
    rejected, used, approved = make_image("rejected"), make_image("rejected"), make_image("approved")
    make_job(operation="stub_copy").job_inputs.create(image=used)
    child = make_image("in_review", job=finished)
    ProductImage.objects.exclude(pk=child.pk).update(updated_at=long_ago)
    back = make_image("rejected")
    for image in (back, used):
        Publication.objects.create(image=image, catalogue="default", object_pk="1", withdrawn_at=long_ago)
    ProductImage.objects.filter(pk=back.pk).update(updated_at=long_ago)
    run = TrainingRun.objects.create(
        name="r", output_dir="/x", state=RunState.SUCCEEDED, finished_at=timezone.now() - timedelta(days=100)
    )
    MetricPoint.objects.create(run=run, images_seen=1, seconds=1.0)
    UnreadableMessage.objects.create(queue_name="q", payload="p", error="e")
    out = StringIO()
    call_command("shopgen_retention", "--dry-run", stdout=out)
    told = (
        "Would remove 1 jobs, 3 rejected pictures, 0 rejected texts, 1 training figures, 0 unreadable messages, "
        "0 entries of use."
    )
    assert told in out.getvalue()
    assert Job.objects.filter(pk=finished.pk).exists()
    with django_capture_on_commit_callbacks(execute=True):
        removed = apply_retention()
    assert (removed.jobs, removed.images, removed.metric_points, removed.messages) == (1, 2, 1, 0)
    assert not private_storage().exists(str(rejected.file.name))
    assert not ProductImage.objects.filter(pk=back.pk).exists(), "it had been published and taken back"
    assert private_storage().exists(str(used.file.name)), "a job was made from it"
    assert used.publications.count() == 1, "nothing of a picture goes that stays"
    child.refresh_from_db()
    assert child.job is None and private_storage().exists(str(child.file.name))
    assert ProductImage.objects.get(pk=approved.pk).state == ImageState.APPROVED
    settings.SHOPGEN = {
        **settings.SHOPGEN,
        "RETENTION": {"FINISHED_JOBS_DAYS": None, "FAILED_JOBS_DAYS": None, "REJECTED_IMAGES_DAYS": None,
                      "METRIC_POINTS_DAYS": None},
    }
    Job.objects.filter(finished_at__isnull=False).update(finished_at=timezone.now() - timedelta(days=4000))
    assert apply_retention().jobs == 0
