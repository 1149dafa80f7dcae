"""The same key, again and at the same time."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from shopgen_django.models import Job
from tests.api.conftest import BASE
from tests.api.test_throttling import together
from tests.factories import make_user
from tests.testshop.models import Product


def send(client: Any, key: str, count: int = 2) -> Any:
    return client.post(
        f"{BASE}/jobs/", {"operation": "generate", "params": {"count": count}}, format="json",
        headers={"idempotency-key": key},
    )


def test_the_same_key_gives_the_same_job(staff: APIClient, model: Any) -> None:
    first, again = send(staff, "k1"), send(staff, "k1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = send(staff, "k1", count=3)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert send(staff, "k2").json()["id"] != first.json()["id"]
    assert Job.objects.count() == 2


def test_a_key_belongs_to_its_user(staff: APIClient, client_of: Any, model: Any) -> None:
    mine, theirs = send(staff, "k"), send(client_of("ben", "submit_job"), "k")
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_make_one_job(model: Any) -> None:
    user = make_user("anna", "submit_job")
    clients = [Client() for _ in range(20)]
    for client in clients:
        client.force_login(user)
    answers = together(20, lambda number: clients[number].post(
        f"{BASE}/jobs/", {"operation": "generate"}, content_type="application/json",
        headers={"idempotency-key": "one"},
    ))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_ten_batches_at_once_with_two_bodies_leave_one_of_them(model: Any) -> None:
    user = make_user("anna", "submit_job")
    keys = [Product.objects.create(name=f"Hat {number}").pk for number in range(3)]
    clients = [Client() for _ in range(10)]
    for client in clients:
        client.force_login(user)
    answers = together(10, lambda number: clients[number].post(
        f"{BASE}/jobs/batch/", {"operation": "generate", "products": keys[: 2 + number % 2]},
        content_type="application/json", headers={"idempotency-key": "one"},
    ))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] * 5 + [409] * 5
    assert Job.objects.count() in {2, 3}
    assert Job.objects.values("batch").distinct().count() == 1
