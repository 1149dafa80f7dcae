"""Results as they are stored: figures that are figures, and people who stay people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import JobInput, ProductImage
from shopgen_django.operations.base import Operation, OperationContext, Output
from shopgen_django.operations.registry import register, unregister
from tests.factories import make_image, picture

from .conftest import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def odd() -> Iterator[None]:
    class Odd(Operation):
        name = "odd"
        label = "Odd"

        def run(self, context: OperationContext) -> Iterator[Output]:
            yield Output(image=picture(), measurements={"likeness": float("nan")})

    register(Odd)
    yield
    unregister("odd")


def test_a_measurement_that_is_no_number_passes_no_gate(odd: None) -> None:
    job = make_job(operation="odd")
    job.params = {}
    job.save()
    assert run_job(str(job.pk)) == "failed"
    job.refresh_from_db()
    assert job.error_code == "bad_measurement" and "likeness" in job.error_detail
    assert not ProductImage.objects.exists()


@pytest.mark.parametrize("personal", [False, True])
def test_what_is_made_from_a_person_shows_a_person(personal: bool) -> None:
    job = make_job(operation="stub_copy")
    for position, shows in enumerate((False, personal)):
        JobInput.objects.create(job=job, image=make_image(personal=shows), position=position)
    assert run_job(str(job.pk)) == "succeeded"
    results = list(job.images.all())
    assert results and all(image.personal == personal for image in results)
