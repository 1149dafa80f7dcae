"""A shop's staff and rows for the admin's tests."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.test import Client

from shopgen_django.models import Job, JobState
from tests.factories import picture_bytes
from tests.testshop.models import Category, Product


@pytest.fixture
def boss(db: None) -> Any:
    return get_user_model().objects.create_superuser("boss", password="secret")


@pytest.fixture
def desk(boss: Any) -> Client:
    client = Client()
    client.force_login(boss)
    return client


def as_user(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def product(db: None) -> Product:
    category, _made = Category.objects.get_or_create(name="dress")
    row = Product(name="Green dress", category=category)
    row.image.save("dress.png", ContentFile(picture_bytes(colour="#118844")), save=True)
    return row


def make_job(state: str = JobState.QUEUED, **fields: Any) -> Job:
    """A job's row in this state."""
    from django.utils import timezone

    now = timezone.now()
    values: dict[str, Any] = {"operation": "generate", "params": {"count": 4}, "state": state, "not_before": now}
    if state == JobState.RUNNING:
        values |= {"lease_until": now + timezone.timedelta(minutes=5), "attempt": 1, "started_at": now}
    if state in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}:
        values |= {"finished_at": now, "attempt": 1}
    if state == JobState.FAILED:
        values |= {"error_code": "out_of_memory", "error_detail": "The worker ran out of memory."}
    values.update(fields)
    return Job.objects.create(**values)
