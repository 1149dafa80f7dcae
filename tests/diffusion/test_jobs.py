"""Large models behind real jobs: errors by name, the worker lives on, nothing half-made is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage
from shopgen_django.models.choices import ImageState, JobState
from shopgen_django.services.jobs import cancel_job
from shopgen_django.services.submit import submit_job
from shopgen_django.storage import read_image
from tests.diffusion.test_engine import break_vae
from tests.diffusion.test_folder import flip
from tests.factories import make_image, make_user

pytestmark = pytest.mark.django_db(transaction=True)
STROKE = {"keep": True, "radius": 0.1, "points": [[0.3, 0.5], [0.6, 0.5]]}


def queue(operation: str = "create", *, inputs: Any = (), **params: Any) -> Job:
    return submit_job(operation=operation, params={"prompt": "a shirt", "steps": 2, **params}, inputs=inputs)[0]


def settled(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


@pytest.mark.parametrize(
    ("operation", "origin"),
    [
        ("restyle", "trainedAlgorithmicMedia"), ("inpaint", "compositeWithTrainedAlgorithmicMedia"),
        ("scene", "compositeWithTrainedAlgorithmicMedia"),
    ],
)
def test_pictures_from_pictures_wait_for_a_person(
    sd: Path, use: Callable[..., None], operation: str, origin: str
) -> None:
    use(MODEL=str(sd))
    source = make_image("approved", category="Shirt")
    more: dict[str, Any] = {"inpaint": {"strokes": [STROKE]}, "scene": {"sure": 0.0}}.get(operation, {})
    job = settled(queue(operation, inputs=[source], seed=1, **more))
    assert job.state == JobState.SUCCEEDED, job.error_detail
    result = ProductImage.objects.get(job=job)
    assert result.state == ImageState.IN_REVIEW and result.digital_source == origin
    assert list(result.parents.all()) == [source] and result.params["made_with"]["prompt"] == "a shirt"
    assert result.params["made_with"]["picture_seed"].isdigit()


def test_the_same_record_twice_has_the_same_hash_and_another_seed_another(sd: Path, use: Callable[..., None]) -> None:
    use(MODEL=str(sd))
    jobs = [settled(queue(seed=seed)) for seed in (7, 7, 8)]
    first, second, third = (ProductImage.objects.get(job=job) for job in jobs)

    def seen(image: ProductImage) -> bytes:
        import io

        from PIL import Image

        return Image.open(io.BytesIO(read_image(image))).tobytes()

    assert seen(first) == seen(second) != seen(third)
    unseeded = settled(queue())
    made = ProductImage.objects.get(job=unseeded)
    assert made.params["seed"] == int(made.params["made_with"]["seed"])


def test_errors_have_names_and_the_next_job_works(sd: Path, use: Callable[..., None], copy: Any) -> None:
    folder = copy(sd)
    use(MODEL=str(folder))
    assert settled(queue()).state == JobState.SUCCEEDED
    break_vae(float("nan"))
    failed = settled(queue())
    assert (failed.state, failed.error_code) == (JobState.FAILED, "bad_output") and "NaN" in failed.error_detail
    SHELF.release()
    queued = queue()
    flip(folder / "model_index.json", at=3)
    failed = settled(queued)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "model_corrupt")
    flip(folder / "model_index.json", at=3)
    assert settled(queue()).state == JobState.SUCCEEDED
    assert ProductImage.objects.count() == 2


def test_a_job_without_memory_waits_for_another_try(
    sd: Path, use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(MODEL=str(sd))
    settled(queue())
    (entry,) = SHELF._entries.values()

    def full(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(entry.parts["vae"], "decode", full)
        job = settled(queue())
    assert (job.state, job.error_code) == (JobState.QUEUED, "out_of_memory")
    assert settled(queue()).state == JobState.SUCCEEDED


def test_a_cancelled_job_stops_at_its_next_step(
    sd: Path, use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.jobs import heartbeat

    monkeypatch.setattr(heartbeat, "WRITE_INTERVAL", 0.0)
    use(MODEL=str(sd))
    settled(queue())
    boss = make_user("boss", is_superuser=True)
    job = queue(steps=40)
    calls: list[int] = []
    (entry,) = SHELF._entries.values()
    forward = entry.parts["unet"].forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            cancel_job(job=job, user=boss)
        return forward(*args, **kwargs)

    monkeypatch.setattr(entry.parts["unet"], "forward", counting)
    assert run_job(job.pk) == "cancelled" and len(calls) <= 3
    assert not ProductImage.objects.filter(job=job).exists()
