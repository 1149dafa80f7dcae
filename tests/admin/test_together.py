"""Several pictures in one job, from the page that queues work."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.models import Job
from tests.factories import make_image

pytestmark = pytest.mark.django_db


def test_several_pictures_in_one_job(desk: Client) -> None:
    """A series gets one look; a second picture may be a mask. By itself every picture is a job of its own."""
    images = [make_image(kind="source", colour=colour) for colour in ("#aa8866", "#bb9977", "#ccaa88")]
    address = reverse("admin:shopgen_productimage_run")
    data = {"pk": [str(image.pk) for image in images], "operation": "correct", "shown": "correct"}
    data |= {f"p-{name}": value for name, value in {
        "balance": "auto", "exposure": "on", "perspective": "none", "format": "same"}.items()}  # fmt: skip
    shown = desk.post(address, data).content.decode()
    assert "3 jobs" in shown and "They are a series: all get one look" in shown
    shown = desk.post(address, {**data, "together": "1", "estimate": "1"}).content.decode()
    assert "1 job, 3 new pictures" in shown
    desk.post(address, {**data, "together": "1", "queue": "1", "token": str(uuid.uuid4())})
    job = Job.objects.get()
    assert [row.image_id for row in job.job_inputs.order_by("position")] == [image.pk for image in images]
    assert "in one job" not in desk.post(address, {**data, "operation": "denoise"}).content.decode()
    assert "in one job" not in desk.post(address, {**data, "pk": data["pk"][:1]}).content.decode()
