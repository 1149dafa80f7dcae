"""Queue work: one row, one ring, both or neither."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from shopgen_django.exceptions import (
    IdempotencyConflict,
    InvalidParameters,
    InvalidState,
    LimitExceeded,
    ModelUnavailable,
    NotAllowed,
    NotFound,
    ProductNotFound,
)
from shopgen_django.jobs.queues.dummy import DummyQueue
from shopgen_django.models import Job, JobState, ModelVersion
from shopgen_django.services.batch import BatchItem, submit_batch
from shopgen_django.services.jobs import cancel_job, retry_job
from shopgen_django.services.models import register_version
from shopgen_django.services.submit import plan_job, submit_job
from tests.factories import make_image, make_user
from tests.testshop.models import Category, Product


@pytest.fixture
def model(tmp_path: Path, db: None) -> ModelVersion:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model.json").write_text(json.dumps({"categories": ["Hat", "Shirt"]}))
    return register_version(folder=tmp_path, name="clothes", activate=True)


def test_a_job_is_written_and_rung_after_the_commit(
    model: ModelVersion, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        job, created = submit_job(operation="generate", params={"count": 2})
        assert DummyQueue.rings == []
    assert created
    assert DummyQueue.rings == [(str(job.pk), "cpu")]
    assert (job.state, job.attempt, job.model_version) == (JobState.QUEUED, 0, model)
    assert job.params["truncation"] == 0.8, "parameters are stored complete"


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_submission_leaves_no_row_and_no_ring(model: ModelVersion) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        submit_job(operation="generate")
        raise RuntimeError("the caller changed its mind")
    assert not Job.objects.exists()
    assert DummyQueue.rings == []


def test_what_the_request_names_must_exist(model: ModelVersion) -> None:
    with pytest.raises(NotFound):
        submit_job(operation="melt")
    with pytest.raises(InvalidParameters):
        submit_job(operation="generate", params={"count": 0})
    with pytest.raises(InvalidParameters) as caught:
        submit_job(operation="generate", params={"category": "Boat"})
    assert "Shirt" in str(caught.value.fields["category"][0])
    with pytest.raises(ProductNotFound):
        submit_job(operation="generate", object_pk=999)
    with pytest.raises(InvalidParameters):
        submit_job(operation="generate", inputs=[make_image()])
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_without_a_model_generate_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailable, match="train_gan"):
        submit_job(operation="generate")


def test_the_product_s_category_chooses_the_model(model: ModelVersion, tmp_path: Path) -> None:
    hats = tmp_path / "hats"
    hats.mkdir()
    (hats / "model.safetensors").write_bytes(b"hats")
    (hats / "model.json").write_text("{}")
    for_hats = register_version(folder=hats, name="hats", category="Hat", activate=True)
    product = Product.objects.create(name="Straw hat", category=Category.objects.create(name="Hat"))
    assert plan_job(operation="generate", object_pk=product.pk).model == for_hats
    job, _ = submit_job(operation="generate", object_pk=product.pk)
    assert (job.catalogue, job.object_pk, job.product_label) == ("default", str(product.pk), "Straw hat")
    assert plan_job(operation="generate", params={"category": "Shirt"}).model == model


def test_a_dry_run_writes_nothing(model: ModelVersion) -> None:
    planned = plan_job(operation="generate", params={"count": 8})
    assert planned.outputs == 8
    assert planned.seconds > 0
    assert not Job.objects.exists()


def test_the_same_key_gives_the_same_job(model: ModelVersion) -> None:
    user = make_user("anna", "submit_job")
    first, created = submit_job(operation="generate", params={"count": 2}, user=user, idempotency_key="k")
    again, created_again = submit_job(operation="generate", params={"count": 2}, user=user, idempotency_key="k")
    assert (created, created_again, again.pk) == (True, False, first.pk)
    with pytest.raises(IdempotencyConflict):
        submit_job(operation="generate", params={"count": 3}, user=user, idempotency_key="k")
    _other, created = submit_job(
        operation="generate", params={"count": 3}, user=make_user("ben", "submit_job"), idempotency_key="k"
    )
    assert created, "a key belongs to its user"


@pytest.mark.django_db(transaction=True)
def test_twenty_requests_with_one_key_make_one_job(model: ModelVersion) -> None:
    seen: list[Any] = []
    errors: list[BaseException] = []

    def request() -> None:
        try:
            seen.append(submit_job(operation="generate", idempotency_key="k")[0].pk)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(seen)) == 1
    assert Job.objects.count() == 1


def test_limits_refuse_and_leave_nothing(model: ModelVersion, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"ACTIVE_JOBS_PER_USER": 2, "QUEUED_JOBS": 3}}
    user = make_user("anna", "submit_job")
    for _ in range(2):
        submit_job(operation="generate", user=user)
    with pytest.raises(LimitExceeded) as caught:
        submit_job(operation="generate", user=user)
    assert caught.value.retry_after >= 1
    submit_job(operation="generate")
    with pytest.raises(LimitExceeded):
        submit_job(operation="generate")
    assert Job.objects.count() == 3


def test_permissions(model: ModelVersion) -> None:
    with pytest.raises(NotAllowed):
        submit_job(operation="generate", user=make_user("nobody"))
    anna = make_user("anna", "submit_job")
    job, _ = submit_job(operation="generate", user=anna)
    with pytest.raises(NotAllowed):
        cancel_job(job=job, user=make_user("ben", "submit_job"))
    assert cancel_job(job=job, user=anna).state == JobState.CANCELLED


def test_cancel_and_retry(model: ModelVersion, django_capture_on_commit_callbacks: Any) -> None:
    job, _ = submit_job(operation="generate")
    cancelled = cancel_job(job=job)
    assert cancelled.finished_at is not None
    assert cancel_job(job=cancelled).state == JobState.CANCELLED, "the second click is no error"
    DummyQueue.rings.clear()
    with django_capture_on_commit_callbacks(execute=True):
        again = retry_job(job=cancelled)
    assert (again.state, again.cancel_requested_at, again.finished_at) == (JobState.QUEUED, None, None)
    assert DummyQueue.rings == [(str(job.pk), "cpu")]
    with pytest.raises(InvalidState):
        retry_job(job=again)


def test_a_retried_job_keeps_counting_its_attempts(model: ModelVersion) -> None:
    job, _ = submit_job(operation="generate")
    Job.objects.filter(pk=job.pk).update(
        state="failed", attempt=3, finished_at=job.created_at, error_code="worker_lost"
    )
    again = retry_job(job=job)
    assert (again.attempt, again.max_attempts) == (3, 6)


def test_a_finished_job_cannot_be_cancelled(model: ModelVersion) -> None:
    job, _ = submit_job(operation="generate")
    Job.objects.filter(pk=job.pk).update(state="succeeded", finished_at=job.created_at)
    with pytest.raises(InvalidState):
        cancel_job(job=job)


def test_the_same_key_gives_the_same_job_when_product_and_model_are_gone(model: ModelVersion) -> None:
    product = Product.objects.create(name="Dress")
    request: dict[str, Any] = {"operation": "generate", "object_pk": product.pk, "idempotency_key": "k"}
    job, created = submit_job(**request)
    product.delete()
    ModelVersion.objects.update(is_active=False)
    assert created
    assert submit_job(**request) == (job, False)


def test_another_priority_is_another_request(model: ModelVersion) -> None:
    submit_job(operation="generate", idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        submit_job(operation="generate", idempotency_key="k", priority=5)


def test_values_that_no_column_holds_are_refused_in_words(model: ModelVersion) -> None:
    with pytest.raises(InvalidParameters) as caught:
        submit_job(operation="generate", idempotency_key="k" * 256)
    assert "idempotency_key" in caught.value.fields
    with pytest.raises(InvalidParameters):
        submit_job(operation="generate", idempotency_key="k\x00")
    with pytest.raises(InvalidParameters) as caught:
        submit_job(operation="generate", priority=40_000)
    assert "priority" in caught.value.fields


def test_a_key_is_stored_as_the_product_writes_it(model: ModelVersion) -> None:
    product = Product.objects.create(name="Dress")
    job, _created = submit_job(operation="generate", object_pk=f"0{product.pk}")
    assert job.object_pk == str(product.pk), "else its tombstone and lists would miss it"


def test_a_batch_counts_waiting_jobs_once_and_keeps_the_limit(
    model: ModelVersion, settings: Any
) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"ACTIVE_JOBS_PER_USER": 6}}
    user = make_user("anna", "submit_job")
    items = [BatchItem(name=str(number)) for number in range(5)]
    with CaptureQueriesContext(connection) as queries:
        submit_batch(operation="generate", params=None, items=items, user=user)
    assert len([query for query in queries if "COUNT(*)" in query["sql"]]) <= 2
    with pytest.raises(LimitExceeded):
        submit_batch(operation="generate", params=None, items=items[:2], user=user)
    assert Job.objects.count() == 5, "all or none"
    submit_batch(operation="generate", params=None, items=items[:1], user=user)
