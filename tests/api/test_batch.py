"""Many jobs at once: rehearsed, all or none, once per key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from shopgen_django.models import ImageKind, ImageState, Job
from shopgen_django.operations.base import Operation, OperationContext, Output
from shopgen_django.operations.registry import register, unregister
from tests.api.conftest import BASE
from tests.factories import make_image
from tests.testshop.models import Category, Product

URL = f"{BASE}/jobs/batch/"


@pytest.fixture
def copy() -> Iterator[str]:
    """An operation that needs exactly one picture."""

    @register
    class Copy(Operation):
        name = "test-copy"
        label = "Copy"
        min_inputs = max_inputs = 1

        def run(self, context: OperationContext) -> Iterator[Output]:
            yield Output(image=context.inputs[0].open())

    yield Copy.name
    unregister(Copy.name)


def send(client: APIClient, body: dict[str, Any], key: str | None = None) -> Any:
    headers = {"idempotency-key": key} if key else {}
    return client.post(URL, body, format="json", headers=headers)


def test_a_dry_run_counts_estimates_and_names_problems_and_writes_nothing(staff: APIClient, copy: str) -> None:
    good, bad = make_image(colour="#111111"), make_image(ImageState.REJECTED, colour="#222222")
    missing = "00000000-0000-4000-8000-000000000000"
    body = {"operation": copy, "images": [str(good.pk), str(bad.pk), missing], "dry_run": True}
    answer = send(staff, body)
    assert answer.status_code == 200, answer.content
    shown = answer.json()
    assert (shown["count"], shown["estimate"]) == (1, {"seconds": 1.0, "outputs": 1})
    assert {row["item"]: row["code"] for row in shown["problems"]} == {
        missing: "not_found", str(bad.pk): "invalid_state"
    }
    assert not Job.objects.exists()


def test_one_problem_refuses_all_unless_it_may_be_skipped(staff: APIClient, copy: str) -> None:
    good = make_image()
    missing = "00000000-0000-4000-8000-000000000000"
    body = {"operation": copy, "images": [str(good.pk), missing]}
    answer = send(staff, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "batch_has_problems")
    assert list(answer.json()["error"]["fields"]) == [f"items.{missing}"]
    assert not Job.objects.exists()
    answer = send(staff, {**body, "skip_problems": True})
    assert (answer.status_code, answer.json()["count"]) == (202, 1)
    assert [row["item"] for row in answer.json()["problems"]] == [missing]
    listed = staff.get(answer.json()["status_url"]).json()["results"]
    assert [row["inputs"] for row in listed] == [[str(good.pk)]]


def test_products_of_a_generating_operation(staff: APIClient, model: Any) -> None:
    hats = Category.objects.create(name="Hat")
    products = [Product.objects.create(name=f"Hat {number}", category=hats) for number in range(3)]
    answer = send(staff, {"operation": "generate", "params": {"count": 2}, "product_filter": {"category": "Hat"}})
    assert answer.status_code == 202, answer.content
    assert answer.json()["estimate"]["outputs"] == 6
    assert set(Job.objects.values_list("object_pk", flat=True)) == {str(product.pk) for product in products}
    answer = send(staff, {"operation": "generate", "products": [products[0].pk, 999], "dry_run": True})
    assert answer.json()["count"] == 1
    assert [(row["item"], row["code"]) for row in answer.json()["problems"]] == [("999", "product_not_found")]


def test_products_of_an_editing_operation_stand_for_their_photos(staff: APIClient, copy: str) -> None:
    product, bare = Product.objects.create(name="Hat"), Product.objects.create(name="Bare")
    place = {"catalogue": "default", "object_pk": str(product.pk), "kind": ImageKind.SOURCE}
    photos = [make_image(colour=colour, **place) for colour in ("#111111", "#222222")]
    make_image(colour="#333333", catalogue="default", object_pk=str(product.pk))  # a result is no photo
    answer = send(staff, {"operation": copy, "products": [product.pk, bare.pk], "skip_problems": True})
    assert answer.status_code == 202, answer.content
    assert [row["code"] for row in answer.json()["problems"]] == ["no_pictures"]
    used = [job.job_inputs.get().image_id for job in Job.objects.order_by("created_at")]
    assert used == [photo.pk for photo in photos]


def test_pictures_by_filter(staff: APIClient, copy: str) -> None:
    wanted = make_image(ImageState.APPROVED, category="Hat", colour="#111111")
    make_image(ImageState.APPROVED, category="Shirt", colour="#222222")
    make_image(ImageState.DRAFT, category="Hat", colour="#333333")
    answer = send(staff, {"operation": copy, "image_filter": {"state": ["approved"], "category": "Hat"}})
    assert answer.status_code == 202
    assert Job.objects.get().job_inputs.get().image_id == wanted.pk
    answer = send(staff, {"operation": copy, "image_filter": {"category": "Boat"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "nothing_to_do")
    answer = send(staff, {"operation": copy, "image_filter": {"colour": "red"}})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["image_filter.colour"])


def test_what_is_wrong_for_all_is_told_once(staff: APIClient, model: Any) -> None:
    product = Product.objects.create(name="Hat")
    answer = send(staff, {"operation": "generate", "params": {"count": 0}, "products": [product.pk]})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["count"])
    answer = send(staff, {"operation": "melt", "products": [product.pk]})
    assert answer.status_code == 404
    answer = send(staff, {"operation": "generate"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameters")
    answer = send(staff, {"operation": "generate", "products": [1], "images": []})
    assert answer.status_code == 400
    answer = send(staff, {"operation": "generate", "products": [1], "catalogue": "elsewhere"})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["catalogue"])


def test_the_limit_of_a_batch(staff: APIClient, model: Any, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "API": {"BATCH_ITEMS": 2}}
    for number in range(3):
        Product.objects.create(name=f"Hat {number}")
    for selection in ({"products": [1, 2, 3]}, {"product_filter": {}}):
        answer = send(staff, {"operation": "generate", **selection})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "batch_too_large")
    assert not Job.objects.exists()


def test_a_batch_counts_as_many_jobs_as_it_queues(staff: APIClient, model: Any, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "API": {"JOBS_PER_MINUTE": 5}}
    keys = [Product.objects.create(name=f"Hat {number}").pk for number in range(4)]
    answer = send(staff, {"operation": "generate", "products": keys})
    assert (answer.status_code, answer.headers["RateLimit-Remaining"]) == (202, "1")
    answer = send(staff, {"operation": "generate", "products": keys})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert Job.objects.count() == 4


def test_too_many_waiting_jobs_refuse_the_whole_batch(staff: APIClient, model: Any, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"ACTIVE_JOBS_PER_USER": 2}}
    keys = [Product.objects.create(name=f"Hat {number}").pk for number in range(3)]
    answer = send(staff, {"operation": "generate", "products": keys})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_exceeded")
    assert not Job.objects.exists()


def test_the_same_key_queues_once_even_when_a_filter_would_match_more(staff: APIClient, model: Any) -> None:
    Product.objects.create(name="Hat 1")
    body = {"operation": "generate", "product_filter": {"search": "hat"}}
    first = send(staff, body, "spring")
    Product.objects.create(name="Hat 2")
    again = send(staff, body, "spring")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    other = send(staff, {**body, "params": {"count": 1}}, "spring")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert Job.objects.count() == 1


def test_only_visible_pictures_can_be_used(client_of: Any, db: None, copy: str) -> None:
    owner, other = client_of("owner", "submit_job"), client_of("other", "submit_job")
    image = make_image(created_by=owner.user)
    assert send(owner, {"operation": copy, "images": [str(image.pk)], "dry_run": True}).json()["count"] == 1
    shown = send(other, {"operation": copy, "images": [str(image.pk)], "dry_run": True}).json()
    assert (shown["count"], shown["problems"][0]["code"]) == (0, "not_found")
    assert send(other, {"operation": copy, "image_filter": {}, "dry_run": True}).json()["count"] == 0
