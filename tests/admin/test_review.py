"""The review desk: decisions, order, two reviewers at once, the grid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from shopgen_django.models import ProductImage, Review
from tests.factories import make_image, make_user

from .conftest import as_user, make_job

DESK = "admin:shopgen_review_changelist"
GRID = "admin:shopgen_review_grid"


@pytest.fixture
def queue(db: None) -> list[ProductImage]:
    """Three waiting pictures, the oldest first."""
    images = []
    for number, name in enumerate(("First", "Second", "Third")):
        image = make_image("in_review", product_label=name, category=("dress", "hat", "dress")[number],
                           colour=f"#{number + 1}00000")  # fmt: skip
        moment = timezone.now() - timedelta(minutes=10 - number)
        ProductImage.objects.filter(pk=image.pk).update(created_at=moment)
        image.refresh_from_db()
        images.append(image)
    return images


def decide(client: Client, image: ProductImage, **data: Any) -> Any:
    return client.post(reverse("admin:shopgen_review_decide", args=[image.pk]), data, follow=True)


def shown(page: Any) -> Any:
    return page.context["image"]


def test_next_waiting_one_comes_after_a_decision(desk: Client, queue: list[ProductImage]) -> None:
    page = desk.get(reverse(DESK))
    assert shown(page) == queue[0]
    page = decide(desk, queue[0], verdict="approve")
    assert shown(page) == queue[1]
    page = decide(desk, queue[1], verdict="reject", preset="Colours are wrong")
    assert shown(page) == queue[2]
    page = decide(desk, queue[2], verdict="reject", reason="Sleeve is missing", preset="Colours are wrong")
    assert shown(page) is None and "No picture is waiting" in page.content.decode()
    assert [image.state for image in ProductImage.objects.order_by("created_at")] == [
        "approved", "rejected", "rejected"
    ]
    assert set(Review.objects.values_list("reason", flat=True)) == {"", "Colours are wrong", "Sleeve is missing"}
    assert LogEntry.objects.count() == 3


def test_skip_and_back(desk: Client, queue: list[ProductImage]) -> None:
    page = desk.get(reverse(DESK), {"image": str(queue[1].pk)})
    assert (page.context["before"], page.context["after"]) == (queue[0], queue[2])
    page = decide(desk, queue[2], verdict="approve")
    assert shown(page) == queue[0], "after the last one the desk begins again with what was skipped"


def test_narrowing_down_survives_a_decision(desk: Client, queue: list[ProductImage]) -> None:
    address = reverse("admin:shopgen_review_decide", args=[queue[0].pk]) + "?category=dress"
    page = desk.post(address, {"verdict": "approve"}, follow=True)
    assert shown(page) == queue[2] and "category=dress" in page.redirect_chain[-1][0]


def test_somebody_else_was_faster(desk: Client, queue: list[ProductImage]) -> None:
    ProductImage.objects.filter(pk=queue[0].pk).update(state="rejected")
    page = decide(desk, queue[0], verdict="approve")
    assert "Somebody else was faster" in page.content.decode()
    assert shown(page) == queue[1] and not Review.objects.exists() and not LogEntry.objects.exists()


def test_decided_picture_is_not_shown_again(desk: Client, queue: list[ProductImage]) -> None:
    ProductImage.objects.filter(pk=queue[0].pk).update(state="rejected")
    page = desk.get(reverse(DESK), {"image": str(queue[0].pk)})
    assert shown(page) == queue[1] and "no longer waits" in page.content.decode()


def test_rejection_needs_a_reason(desk: Client, queue: list[ProductImage]) -> None:
    page = decide(desk, queue[0], verdict="reject", reason="  ")
    assert "Say why" in page.content.decode() and shown(page) == queue[0]
    assert not Review.objects.exists()


def test_four_eyes(settings: Any, queue: list[ProductImage]) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "REVIEW": {"FOUR_EYES": True}}
    user = make_user("maker", "review_productimage")
    ProductImage.objects.filter(pk=queue[0].pk).update(created_by=user)
    page = decide(as_user(user), queue[0], verdict="approve")
    assert "Somebody else has to review" in page.content.decode() and not Review.objects.exists()


def test_only_reviewers(queue: list[ProductImage]) -> None:
    client = as_user(make_user("viewer", "view_productimage"))
    assert client.get(reverse(DESK)).status_code == 403
    assert client.get(reverse(GRID)).status_code == 403
    assert decide(client, queue[0], verdict="approve").status_code == 403
    assert client.post(reverse(GRID), {"pk": str(queue[0].pk), "verdict": "approve"}).status_code == 403
    assert not Review.objects.exists()


def test_viewers_of_reviews_see_the_decisions(queue: list[ProductImage]) -> None:
    Review.objects.create(image=queue[0], decision="rejected", reason="Sleeve is missing")
    page = as_user(make_user("auditor", "view_review")).get(reverse(DESK))
    assert page.status_code == 200 and "Sleeve is missing" in page.content.decode()


def test_a_decision_is_never_made_by_get(desk: Client, queue: list[ProductImage]) -> None:
    address = reverse("admin:shopgen_review_decide", args=[queue[0].pk])
    assert desk.get(address, {"verdict": "approve"}).status_code == 405


def test_nothing_is_decided_without_a_verdict(desk: Client, queue: list[ProductImage]) -> None:
    assert decide(desk, queue[0]).status_code == 400
    assert desk.post(reverse(GRID), {"pk": str(queue[0].pk), "reason": "Sleeve is missing"}).status_code == 400
    assert not Review.objects.exists()


def test_grid_approves_the_chosen_only(desk: Client, queue: list[ProductImage]) -> None:
    page = desk.post(reverse(GRID), {"pk": [str(queue[0].pk), str(queue[2].pk)], "verdict": "approve"}, follow=True)
    assert "2 pictures were approved." in page.content.decode()
    assert ProductImage.objects.filter(state="in_review").get() == queue[1]


def test_grid_keeps_the_selection_without_a_reason(desk: Client, queue: list[ProductImage]) -> None:
    page = desk.post(reverse(GRID), {"pk": str(queue[1].pk), "verdict": "reject"}).content.decode()
    assert "Say why" in page and f'value="{queue[1].pk}" checked' in page
    assert f'value="{queue[0].pk}" checked' not in page


def test_grid_without_a_choice_changes_nothing(desk: Client, queue: list[ProductImage]) -> None:
    page = desk.post(reverse(GRID), {"verdict": "approve"})
    assert "No picture is selected" in page.content.decode() and not Review.objects.exists()


def test_desk_of_one_job(desk: Client, queue: list[ProductImage]) -> None:
    job = make_job("succeeded")
    ProductImage.objects.filter(pk=queue[2].pk).update(job=job)
    assert shown(desk.get(reverse(DESK), {"job": str(job.pk)})) == queue[2]
    assert shown(desk.get(reverse(DESK), {"job": "nonsense"})) is None
