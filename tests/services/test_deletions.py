"""What goes while others still need it: pictures, products, users."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import Storage
from django.db import connections

from shopgen_django.exceptions import InvalidState, NotFound, PublishError, ShopgenError
from shopgen_django.models import ImageState, Job, ProductImage, Publication
from shopgen_django.services.images import delete_image
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve, reject, send_to_review
from shopgen_django.services.submit import submit_job
from shopgen_django.storage import private_storage
from tests.factories import make_image, make_user
from tests.testshop.models import Product


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, all started at the same moment in threads of their own."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait(30)
            results[index] = call()
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "two transactions wait for one another"
    return results


@pytest.mark.django_db(transaction=True)
def test_publishing_and_deleting_at_the_same_moment() -> None:
    for round_number in range(8):
        product = Product.objects.create(name=f"Dress {round_number}")
        image = make_image("approved", catalogue="default", object_pk=str(product.pk))
        one, other = ProductImage.objects.get(pk=image.pk), ProductImage.objects.get(pk=image.pk)
        published, deleted = together(
            lambda one=one: publish_image(image=one, user=None), lambda other=other: delete_image(image=other)
        )
        if isinstance(published, Publication):
            assert isinstance(deleted, InvalidState), deleted
            assert private_storage().exists(str(image.file.name))
        else:
            assert isinstance(published, NotFound), published
            assert deleted is None
            product.refresh_from_db()
            assert not product.image


@pytest.mark.django_db(transaction=True)
def test_queueing_with_an_input_that_is_being_deleted() -> None:
    for _round in range(8):
        image = make_image("approved")
        one, other = ProductImage.objects.get(pk=image.pk), ProductImage.objects.get(pk=image.pk)
        queued, deleted = together(
            lambda one=one: submit_job(operation="fit", inputs=[one]), lambda other=other: delete_image(image=other)
        )
        if isinstance(queued, tuple):
            assert isinstance(deleted, InvalidState), deleted
            assert queued[0].job_inputs.count() == 1
        else:
            assert isinstance(queued, NotFound), queued
            assert deleted is None


@pytest.mark.django_db
def test_whatever_is_done_to_a_deleted_picture_says_that_it_is_gone() -> None:
    product = Product.objects.create(name="Dress")
    for state, call in (
        ("in_review", lambda image: approve(image=image)),
        ("in_review", lambda image: reject(image=image, reason="crooked")),
        ("draft", lambda image: send_to_review(image=image)),
        ("approved", lambda image: publish_image(image=image, user=None)),
        ("approved", lambda image: withdraw_image(image=image, user=None)),
        ("draft", lambda image: delete_image(image=image)),
        ("draft", lambda image: submit_job(operation="fit", inputs=[image])),
    ):
        image = make_image(state, catalogue="default", object_pk=str(product.pk))
        ProductImage.objects.filter(pk=image.pk).delete()
        with pytest.raises(NotFound) as caught:
            call(image)
        assert caught.value.code == "image_deleted"


@pytest.mark.django_db
def test_an_input_that_was_rejected_since_it_was_read_is_refused() -> None:
    image = make_image("in_review")
    reject(image=ProductImage.objects.get(pk=image.pk), reason="blurred")
    with pytest.raises(InvalidState):
        submit_job(operation="fit", inputs=[image])
    assert not Job.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("distance", [1, 2])
def test_what_was_made_from_a_person_is_never_published_even_when_the_photo_is_deleted(distance: int) -> None:
    product = Product.objects.create(name="Dress")
    photo = make_image("draft", personal=True)
    parent = photo
    if distance == 2:
        parent = make_image("in_review")
        parent.parents.add(photo)
    made = make_image("approved", catalogue="default", object_pk=str(product.pk))
    made.parents.add(parent)
    delete_image(image=parent)
    with pytest.raises(PublishError) as caught:
        publish_image(image=made, user=None)
    assert caught.value.code == "personal_picture"


@pytest.mark.django_db
def test_a_storage_that_fails_does_not_undo_a_deletion(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    import shopgen_django.admin.thumbnails  # noqa: F401 - its receiver, which removes files as well, is connected

    image = make_image("draft")

    def broken(self: Storage, name: str) -> None:
        raise OSError("the disk is read-only")

    monkeypatch.setattr("django.core.files.storage.FileSystemStorage.delete", broken)
    with django_capture_on_commit_callbacks(execute=True):
        delete_image(image=image)
    assert not ProductImage.objects.exists()


@pytest.mark.django_db
def test_users_who_used_the_same_idempotency_key_can_be_deleted() -> None:
    for name in ("anna", "bert"):
        user = make_user(name, "submit_job")
        submit_job(operation="fit", inputs=[make_image()], user=user, idempotency_key="nightly")
    submit_job(operation="fit", inputs=[make_image()], idempotency_key="nightly")
    type(user).objects.all().delete()
    assert Job.objects.filter(created_by=None).count() == 3


@pytest.mark.django_db
def test_a_product_without_a_readable_name_can_be_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product.objects.create(name="Dress")
    image = make_image("approved", catalogue="default", object_pk=str(product.pk))

    def broken(self: Product) -> str:
        raise ValueError("the category is gone")

    monkeypatch.setattr(Product, "__str__", broken)
    key = str(product.pk)
    product.delete()
    image.refresh_from_db()
    assert image.product_deleted_at is not None
    assert image.product_label == key
    with pytest.raises(ShopgenError) as caught:
        publish_image(image=image, user=None)
    assert caught.value.code == "product_deleted"
    assert image.state == ImageState.APPROVED
