from __future__ import annotations

import errno
import logging
import uuid
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError
from django.utils import timezone
from PIL import Image

from shopgen_django.imaging.provenance import read_provenance
from shopgen_django.jobs import lease as leases
from shopgen_django.jobs import outputs, runner
from shopgen_django.jobs.entrypoints import ring
from shopgen_django.jobs.queue import get_queue
from shopgen_django.jobs.runner import run_job, seed_of
from shopgen_django.models import ImageState, Job, JobInput, JobState, ProductImage
from shopgen_django.storage import private_storage, read_image
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Product

from .conftest import let_lease_run_out, let_pause_end, make_job
from .stubs import shopgen_operations as stub

pytestmark = pytest.mark.django_db


def stored_files() -> list[str]:
    """Every file under results/ of the private storage."""
    root = private_storage().path("results")  # type: ignore[attr-defined]
    from pathlib import Path

    return sorted(path.name for path in Path(root).rglob("*") if path.is_file())


def test_results_wait_for_review_with_everything_that_is_known() -> None:
    user = make_user("maker")
    job = make_job(params={"outputs": 2}, created_by=user, product_label="Red shirt")
    assert run_job(str(job.pk)) == "succeeded"
    job.refresh_from_db()
    assert (job.state, job.progress, job.attempt) == (JobState.SUCCEEDED, 1.0, 1)
    assert job.seconds is not None and job.device_seconds is not None
    assert job.peak_memory is not None and job.peak_memory > 1_000_000
    assert [line["outcome"] for line in job.history] == ["succeeded"]
    images = list(job.images.order_by("index"))
    assert [image.index for image in images] == [0, 1]
    for image in images:
        assert (image.state, image.gate_reason, image.approved_at) == (ImageState.IN_REVIEW, "", None)
        assert (image.operation, image.created_by, image.product_label) == ("stub", user, "Red shirt")
        assert image.params["seed"] == seed_of(job.pk)
        assert image.measurements.filter(name="sharpness").exists()
        assert str(image.file.name).startswith(f"results/{job.pk}/1/")
        content = read_image(image)
        assert len(content) == image.bytes
        facts = read_provenance(content)
        assert facts["digital_source_type"].endswith("/algorithmicallyEnhanced")
        assert facts["job"] == str(job.pk)
    assert images[0].sha256 != images[1].sha256


def test_second_attempt_makes_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(params={"outputs": 1})
    first: list[str] = []
    write = outputs.save_bytes

    def full(name: str, content: bytes) -> str:
        first.append(name.rpartition("-")[2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outputs, "save_bytes", full)
    assert run_job(job.pk) == "requeued"
    job.refresh_from_db()
    assert (job.error_code, job.state) == ("storage_full", JobState.QUEUED)
    monkeypatch.setattr(outputs, "save_bytes", write)
    let_pause_end(job)
    assert run_job(job.pk) == "succeeded"
    assert str(job.images.get().file.name).endswith(first[0])


def test_a_seed_that_was_given_is_used() -> None:
    jobs = [make_job(params={"outputs": 1, "seed": 7}) for _number in range(2)]
    for job in jobs:
        run_job(job.pk)
    shas = {job.images.get().sha256 for job in jobs}
    # The facts in the XMP differ (the job's id), the pixels do not.
    pixels = {Image.open(BytesIO(read_image(job.images.get()))).tobytes() for job in jobs}
    assert len(shas) == 2 and len(pixels) == 1


@pytest.mark.parametrize(
    ("mode", "outcome", "code"),
    [
        ("permanent", "failed", "refused"),
        ("transient", "requeued", "not_now"),
        ("bug", "requeued", "internal_error"),
        ("exit", "requeued", "internal_error"),
        ("memory", "requeued", "out_of_memory"),
        ("disk", "requeued", "storage_full"),
    ],
)
def test_runner_never_raises(mode: str, outcome: str, code: str, caplog: pytest.LogCaptureFixture) -> None:
    job = make_job(params={"mode": mode})
    with caplog.at_level(logging.WARNING, "shopgen_django"):
        assert run_job(job.pk) == outcome
    job.refresh_from_db()
    assert job.error_code == code
    assert job.error_detail and "secret detail" not in job.error_detail
    if mode == "bug":
        assert "secret detail" in caplog.text, "the log has the traceback"


def test_time_limit_is_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    class TooLong(SystemExit):
        """As django-q2's TimeoutException: no Exception."""

    monkeypatch.setattr(get_queue(), "timeout_exceptions", (TooLong,))

    def strike(mode: str) -> None:
        raise TooLong

    monkeypatch.setattr(stub, "_misbehave", strike)
    job = make_job()
    assert run_job(job.pk) == "requeued"
    job.refresh_from_db()
    assert job.error_code == "timeout"


def test_each_job_gets_its_own_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(get_queue(), "limit_job", limits.append)
    monkeypatch.setattr(stub.Stub, "hard_timeout", 17)
    run_job(make_job().pk)
    assert limits == [17]


def test_keyboard_interrupt_gives_the_job_back_and_goes_on_up() -> None:
    job = make_job(params={"mode": "interrupt"})
    with pytest.raises(KeyboardInterrupt):
        run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.max_attempts) == (JobState.QUEUED, 1, 4)


def test_error_of_the_imaging_code_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.imaging.intake import IntakeError

    error = IntakeError.__new__(IntakeError)
    error.code = "too_large"

    def refuse(mode: str) -> None:
        raise error

    monkeypatch.setattr(stub, "_misbehave", refuse)
    job = make_job()
    assert run_job(job.pk) == "failed"
    job.refresh_from_db()
    assert job.error_code == "too_large"


def test_operation_that_a_deploy_removed_fails_with_a_code() -> None:
    job = make_job(operation="gone")
    assert run_job(job.pk) == "failed"
    job.refresh_from_db()
    assert job.error_code == "unknown_operation"


def test_duplicate_ring_is_skipped() -> None:
    job = make_job(params={"outputs": 1})
    assert [run_job(job.pk), run_job(job.pk), run_job(uuid.uuid4())] == ["succeeded", "skipped", "skipped"]
    assert ProductImage.objects.count() == 1


def test_ring_runs_several_short_jobs_and_returns_nothing() -> None:
    jobs = [make_job() for _number in range(3)]
    assert ring(str(jobs[0].pk)) is None
    assert set(Job.objects.values_list("state", flat=True)) == {JobState.SUCCEEDED}


def test_cancel_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(params={"outputs": 1})
    drawing = stub.drawing

    def cancelled_meanwhile(seed: int) -> Image.Image:
        Job.objects.update(cancel_requested_at=timezone.now())
        return drawing(seed)

    monkeypatch.setattr(stub, "drawing", cancelled_meanwhile)
    assert run_job(job.pk) == "cancelled"
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.CANCELLED, "cancelled")
    assert ProductImage.objects.count() == 0
    assert stored_files() == []


def test_late_finisher_writes_nothing_and_removes_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first worker draws, its lease runs out and a second one does the job."""
    job = make_job(params={"outputs": 1})
    drawing, nested = stub.drawing, []

    def overtaken(seed: int) -> Image.Image:
        if not nested:
            nested.append(True)
            let_lease_run_out(job)
            assert leases.take_from_worker(Job.objects.get(), expired=True) == "requeued"
            assert run_job(job.pk) == "succeeded"
        return drawing(seed)

    monkeypatch.setattr(stub, "drawing", overtaken)
    assert run_job(job.pk) == "lost"
    image = ProductImage.objects.get()
    assert str(image.file.name).startswith(f"results/{job.pk}/2/")
    assert len(stored_files()) == 1
    job.refresh_from_db()
    assert [line["outcome"] for line in job.history] == ["lost", "succeeded"]


@pytest.mark.parametrize("step", ["measure", "encode", "save_bytes", "finish", "images", "measurements"])
def test_crash_at_any_step_leaves_all_or_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.imaging import measure, provenance
    from shopgen_django.models import Measurement

    def crash(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError(step)

    place = {
        "measure": (measure, "measure"), "encode": (provenance, "encode"), "save_bytes": (outputs, "save_bytes"),
        "finish": (outputs, "finish"), "images": (ProductImage.objects, "bulk_create"),
        "measurements": (Measurement.objects, "bulk_create"),
    }[step]
    job = make_job(params={"outputs": 2})
    with monkeypatch.context() as patch:
        patch.setattr(*place, crash)
        assert run_job(job.pk) == "requeued"
    job.refresh_from_db()
    assert (job.state, ProductImage.objects.count(), stored_files()) == (JobState.QUEUED, 0, [])
    let_pause_end(job)
    assert run_job(job.pk) == "succeeded"
    assert ProductImage.objects.count() == 2
    assert len(stored_files()) == 2


def test_gate_holds_back_and_settings_approve(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "REVIEW": {"REQUIRE_APPROVAL": False}}
    job = make_job(params={"outputs": 1})
    run_job(job.pk)
    image = job.images.get()
    assert image.state == ImageState.APPROVED and image.approved_at is not None
    settings.SHOPGEN = {**settings.SHOPGEN, "GATES": [f"{__name__}.refuse"]}
    held = make_job(params={"outputs": 1})
    run_job(held.pk)
    image = held.images.get()
    assert (image.state, image.gate_reason, image.approved_at) == (ImageState.DRAFT, "Not today.", None)


def refuse(image: Image.Image, measurements: Any) -> str:
    """A gate."""
    return "Not today."


def test_inputs_are_verified_and_become_parents() -> None:
    sources = [make_image(content=picture_bytes(colour=colour), kind="source") for colour in ("#aa0000", "#00aa00")]
    job = make_job(operation="stub_copy", params={})
    for position, source in enumerate(sources):
        JobInput.objects.create(job=job, image=source, position=position)
    assert run_job(job.pk) == "succeeded"
    made = list(job.images.order_by("index"))
    assert [list(image.parents.all()) for image in made] == [[sources[0]], [sources[1]]]
    assert made[0].measurements.get(name="given").value == 2.0


def test_input_file_that_is_gone_fails_the_job() -> None:
    source = make_image(kind="source")
    job = make_job(operation="stub_copy", params={})
    JobInput.objects.create(job=job, image=source)
    private_storage().delete(str(source.file.name))
    assert run_job(job.pk) == "failed"
    job.refresh_from_db()
    assert job.error_code == "file_missing"


def test_results_belong_to_the_product_or_its_tombstone() -> None:
    product = Product.objects.create(**_product_fields())
    jobs = [make_job(params={"outputs": 1}, catalogue="default", object_pk=str(product.pk)) for _number in range(2)]
    run_job(jobs[0].pk)
    product.delete()
    run_job(jobs[1].pk)
    alive, late = jobs[0].images.get(), jobs[1].images.get()
    assert alive.content_type == ContentType.objects.get_for_model(Product)
    assert late.object_pk == alive.object_pk and late.product_deleted_at is not None


def _product_fields() -> dict[str, Any]:
    names = {field.name for field in Product._meta.fields}
    return {name: "Shirt" for name in ("title", "name") if name in names}


def test_database_away_at_the_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the commit is lost as well: the success is recognised and no file is removed."""
    pauses: list[float] = []
    monkeypatch.setattr(runner.time, "sleep", pauses.append)
    monkeypatch.setattr(runner.connection, "close", lambda: None)
    write, calls = runner.write_results, []

    def away(*args: Any, **kwargs: Any) -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise OperationalError("server closed the connection")
        if len(calls) == 2:
            write(*args, **kwargs)
            raise OperationalError("the answer to the commit was lost")
        return write(*args, **kwargs)

    class NotInTest:
        in_atomic_block = False
        close = staticmethod(lambda: None)

    monkeypatch.setattr(runner, "connection", NotInTest)
    monkeypatch.setattr(runner, "write_results", away)
    job = make_job(params={"outputs": 1})
    assert run_job(job.pk) == "succeeded"
    assert len(calls) == 3 and pauses == [0.5, 1.0]
    assert len(stored_files()) == 1 and job.images.count() == 1


def test_files_that_rows_point_to_are_never_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit went through, but no answer ever came: the worker gives up and must not clean up behind itself."""
    write = runner.write_results

    def no_answer(*args: Any, **kwargs: Any) -> bool:
        write(*args, **kwargs)
        raise OperationalError("the answer to the commit was lost")

    monkeypatch.setattr(runner, "FINISH_PATIENCE", 0.0)
    monkeypatch.setattr(runner, "write_results", no_answer)
    job = make_job(params={"outputs": 1})
    assert run_job(job.pk) == "lost"
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    assert private_storage().exists(str(job.images.get().file.name))


def test_database_away_at_the_claim_is_a_skipped_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()

    def away(**kwargs: Any) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(runner, "claim", away)
    monkeypatch.setattr(runner.connection, "close", lambda: None)
    assert run_job(job.pk) == "skipped"


def test_parameters_of_an_old_version_are_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub.StubParameters, "version", 2)
    monkeypatch.setattr(
        stub.StubParameters, "upgrade", classmethod(lambda cls, params, old: {**params, "outputs": old})
    )
    job = make_job(params={"outputs": 0}, params_version=1)
    run_job(job.pk)
    assert job.images.count() == 1


def test_oldest_clock_does_not_matter() -> None:
    """A worker whose clock is an hour off steals nothing: only the database's clock counts."""
    job = make_job(not_before=timezone.now() + timedelta(minutes=30))
    assert run_job(job.pk) == "skipped"
