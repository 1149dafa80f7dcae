"""A person decides, once; the database keeps the states too."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.models import ImageState, Job, ProductImage, Review
from shopgen_django.services.review import approve, reject, send_to_review
from tests.factories import make_image, make_user

pytestmark = pytest.mark.django_db


def test_approve_and_reject_leave_a_review_row() -> None:
    user = make_user("anna", "review_productimage")
    image = approve(image=make_image("in_review"), user=user)
    assert image.state == ImageState.APPROVED
    assert image.approved_at is not None
    assert image.reviews.get().reviewer == user
    other = reject(image=make_image("in_review"), user=user, reason=" too dark ")
    assert other.state == ImageState.REJECTED
    assert other.reviews.get().reason == "too dark"


def test_a_rejection_needs_a_reason() -> None:
    image = make_image("in_review")
    with pytest.raises(InvalidParameters) as caught:
        reject(image=image, reason="  ")
    assert "reason" in caught.value.fields
    image.refresh_from_db()
    assert image.state == ImageState.IN_REVIEW


def test_the_second_reviewer_is_told() -> None:
    image = make_image("in_review")
    stale = ProductImage.objects.get(pk=image.pk)
    approve(image=image)
    with pytest.raises(InvalidState):
        reject(image=stale, reason="no")
    assert Review.objects.count() == 1


@pytest.mark.parametrize("state", ["draft", "approved", "rejected", "published", "withdrawn"])
def test_only_waiting_pictures_are_decided_on(state: str) -> None:
    with pytest.raises(InvalidState):
        approve(image=make_image(state))


def test_permission_and_four_eyes(settings: Any) -> None:
    with pytest.raises(NotAllowed):
        approve(image=make_image("in_review"), user=make_user("nobody"))
    settings.SHOPGEN = {**settings.SHOPGEN, "REVIEW": {"FOUR_EYES": True}}
    user = make_user("anna", "review_productimage")
    with pytest.raises(NotAllowed) as caught:
        approve(image=make_image("in_review", created_by=user), user=user)
    assert caught.value.code == "four_eyes"
    assert approve(image=make_image("in_review"), user=user).state == ImageState.APPROVED


def test_four_eyes_know_who_asked_and_who_made_the_original(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "REVIEW": {"FOUR_EYES": True}}
    anna, ben = make_user("anna", "review_productimage"), make_user("ben", "review_productimage")
    asked = make_image("in_review", job=Job.objects.create(operation="generate", created_by=anna))
    made = make_image("in_review", created_by=ben)
    made.parents.add(make_image("approved", kind="result", created_by=anna, colour="#220000"))
    for image in (asked, made):
        with pytest.raises(NotAllowed) as caught:
            approve(image=image, user=anna)
        assert caught.value.code == "four_eyes"
    photo = make_image("in_review", created_by=ben)
    photo.parents.add(make_image("draft", kind="source", created_by=anna, colour="#330000"))
    assert approve(image=photo, user=anna).state == ImageState.APPROVED, "who took a photo in did not make the picture"


@pytest.mark.parametrize("state", ["draft", "rejected", "withdrawn"])
def test_back_to_review_takes_the_approval_away(state: str) -> None:
    image = send_to_review(image=make_image(state))
    assert (image.state, image.approved_at) == (ImageState.IN_REVIEW, None)


def test_a_published_picture_does_not_go_back_to_review() -> None:
    with pytest.raises(InvalidState):
        send_to_review(image=make_image("published"))


@pytest.mark.parametrize(
    "values",
    [
        {"state": "approved", "approved_at": None},
        {"state": "published", "approved_at": None, "published_at": "now"},
        {"state": "published", "approved_at": "now", "published_at": None},
        {"state": "in_review", "approved_at": "now"},
        {"state": "approved", "approved_at": "now", "published_at": "now"},
        {"state": "published", "approved_at": "now", "published_at": "now", "personal": True},
        {"state": "melted"},
        {"kind": "other"},
    ],
)
def test_the_database_refuses_states_that_cannot_be(values: dict[str, Any]) -> None:
    image = make_image("in_review")
    now = timezone.now()
    values = {name: now if value == "now" else value for name, value in values.items()}
    with pytest.raises(IntegrityError), transaction.atomic():
        ProductImage.objects.filter(pk=image.pk).update(**values)


def test_the_database_refuses_a_rejection_without_reason() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.create(image=make_image("in_review"), decision="rejected", reason="")
