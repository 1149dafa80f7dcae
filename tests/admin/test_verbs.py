"""Approve, reject, publish, withdraw, send to review: who may, what is asked, what happens, what is logged."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from shopgen_django.models import ImageState, ProductImage, Publication, Review
from tests.factories import make_image, make_user
from tests.testshop.models import Product

from .conftest import as_user

LIST = "admin:shopgen_productimage_changelist"


def do(client: Client, verb: str, *images: ProductImage, **data: Any) -> Any:
    body = {"pk": [str(image.pk) for image in images], **data}
    return client.post(reverse("admin:shopgen_productimage_bulk", args=[verb]), body, follow=True)


def logged(image: ProductImage) -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.filter(object_id=str(image.pk))]


VERBS = {
    "approve": ("review_productimage", "in_review"),
    "reject": ("review_productimage", "in_review"),
    "publish": ("publish_productimage", "approved"),
    "withdraw": ("withdraw_productimage", "published"),
    "review": ("review_productimage", "draft"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_needs_its_own_permission(verb: str) -> None:
    permission, state = VERBS[verb]
    image = make_image(state)
    others = {name for name, _state in VERBS.values()} - {permission}
    for user in (make_user("viewer", "view_productimage"), make_user("other", "view_productimage", *others)):
        answer = do(as_user(user), verb, image, confirm="1", reason="because", placement="main")
        assert answer.status_code == 403
    image.refresh_from_db()
    assert image.state == state and not Review.objects.exists() and not LogEntry.objects.exists()


@pytest.mark.django_db
def test_list_offers_only_what_one_may_do() -> None:
    make_image("in_review")
    page = as_user(make_user("viewer", "view_productimage")).get(reverse(LIST)).content.decode()
    assert 'name="action"' not in page
    page = as_user(make_user("reviewer", "review_productimage")).get(reverse(LIST)).content.decode()
    assert "approve_pictures" in page and "publish_pictures" not in page and "run_operation" not in page


@pytest.mark.django_db
def test_nothing_happens_by_get_or_without_token() -> None:
    image = make_image("in_review")
    user = make_user("reviewer", "review_productimage")
    address = reverse("admin:shopgen_productimage_bulk", args=["approve"])
    assert as_user(user).get(address, {"pk": image.pk, "confirm": 1}).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(address, {"pk": image.pk, "confirm": 1}).status_code == 403
    image.refresh_from_db()
    assert image.state == ImageState.IN_REVIEW


def test_action_asks_first_then_acts(desk: Client) -> None:
    images = [make_image("in_review", colour=colour) for colour in ("#110000", "#220000")]
    chosen = {"action": "approve_pictures", "_selected_action": [str(image.pk) for image in images]}
    page = desk.post(reverse(LIST) + "?state__exact=in_review", chosen)
    assert page.status_code == 200 and "Approve 2 pictures" in page.content.decode()
    assert ProductImage.objects.filter(state="in_review").count() == 2
    page = do(desk, "approve", *images, confirm="1", next=reverse(LIST) + "?state__exact=in_review")
    assert page.redirect_chain[-1][0].endswith("?state__exact=in_review")
    assert "2 pictures were approved." in page.content.decode()
    assert logged(images[0]) == ["Approved."]


def test_rejection_without_reason_keeps_the_selection(desk: Client) -> None:
    images = [make_image("in_review", colour=colour) for colour in ("#110000", "#220000")]
    page = do(desk, "reject", *images, confirm="1").content.decode()
    assert "Say why" in page
    for image in images:
        assert f'value="{image.pk}" checked' in page
    assert not Review.objects.exists()
    do(desk, "reject", *images, confirm="1", preset="Colours are wrong")
    assert set(Review.objects.values_list("reason", flat=True)) == {"Colours are wrong"}
    assert logged(images[0]) == ["Rejected: Colours are wrong"]


def test_what_failed_stays_with_its_reason(desk: Client) -> None:
    """One of two was decided on by somebody else meanwhile: the other goes through, this one is told."""
    good, late = make_image("in_review", colour="#110000"), make_image("in_review", colour="#220000")
    ProductImage.objects.filter(pk=late.pk).update(state="rejected")
    page = do(desk, "approve", good, late, confirm="1").content.decode()
    assert "1 picture was approved." in page and "1 picture was left as it was" in page
    assert "only pictures that wait for review" in page and str(late.pk) in page and str(good.pk) not in page


def test_next_address_of_another_site_is_not_followed(desk: Client) -> None:
    page = do(desk, "approve", make_image("in_review"), confirm="1", next="https://evil.example/x")
    assert page.redirect_chain[-1][0] == reverse(LIST)


def test_publish_shows_both_pictures_and_withdraw_brings_back(desk: Client, product: Product) -> None:
    before = product.image.name
    image = make_image("approved", catalogue="default", object_pk=str(product.pk), product_label="Green dress")
    page = do(desk, "publish", image).content.decode()
    assert "In the shop now" in page and "Will stand there" in page
    shown = page.split('class="sg-medium" src="')[1].split('"')[0].replace("&amp;", "&")
    assert desk.get(shown).status_code == 200
    page = do(desk, "publish", image, confirm="1", placement="main").content.decode()
    assert "1 picture was published." in page
    product.refresh_from_db()
    assert product.image.name != before and logged(image)[0].startswith("Published")
    page = do(desk, "withdraw", image, confirm="1", note="wrong colour").content.decode()
    assert "1 picture was taken back." in page
    product.refresh_from_db()
    assert product.image.name == before
    assert Publication.objects.get().note == "wrong colour"
    assert "Withdrawn. wrong colour" in logged(image)


def test_publishing_without_product_says_what_to_do(desk: Client) -> None:
    image = make_image("approved")
    assert "Assign it to one" in do(desk, "publish", image).content.decode()
    page = do(desk, "publish", image, confirm="1", placement="main").content.decode()
    assert "belongs to no product" in page and str(image.pk) in page


def test_assigning_a_product_on_the_page(desk: Client, product: Product) -> None:
    image = make_image("approved")
    address = reverse("admin:shopgen_productimage_change", args=[image.pk])
    body = {"alt_text": "A dress", "category": "", "catalogue": "default", "object_pk": "999999"}
    assert "no product with the key" in desk.post(address, body).content.decode()
    assert desk.post(address, {**body, "object_pk": str(product.pk)}).status_code == 302
    image.refresh_from_db()
    assert (image.product_label, image.category, image.alt_text) == ("Green dress", "dress", "A dress")
    assert image.content_type is not None and image.has_product


def test_a_product_is_found_by_its_title(desk: Client, product: Product) -> None:
    image = make_image("approved")
    address = reverse("admin:shopgen_productimage_change", args=[image.pk])
    body = {"alt_text": "", "category": "", "catalogue": "default", "object_pk": "reen dre"}
    other = Product.objects.create(name="Green dressing gown")
    page = desk.post(address, body).content.decode()
    assert "Several products match" in page and f"Green dressing gown ({other.pk})" in page
    assert desk.post(address, {**body, "object_pk": "green dressing"}).status_code == 302
    image.refresh_from_db()
    assert (image.object_pk, image.product_label) == (str(other.pk), "Green dressing gown")


def test_machine_fields_cannot_be_posted(desk: Client) -> None:
    image = make_image("in_review")
    address = reverse("admin:shopgen_productimage_change", args=[image.pk])
    desk.post(address, {"alt_text": "x", "state": "published", "sha256": "0" * 64, "catalogue": "", "object_pk": ""})
    fresh = ProductImage.objects.get(pk=image.pk)
    assert (fresh.alt_text, fresh.state, fresh.sha256) == ("x", "in_review", image.sha256)


def test_deleting_removes_row_and_file(desk: Client, django_capture_on_commit_callbacks: Any) -> None:
    image = make_image("rejected")
    small = f"thumbnails/{image.sha256[:2]}/{image.sha256}-small.webp"
    desk.get(reverse("admin:shopgen_productimage_picture", args=[image.pk, "small", image.sha256[:16]]))
    assert image.file.storage.exists(small)
    address = reverse("admin:shopgen_productimage_delete", args=[image.pk])
    assert desk.get(address).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        assert desk.post(address, {"post": "yes"}).status_code == 302
    assert not ProductImage.objects.exists() and not image.file.storage.exists(image.file.name)
    assert not image.file.storage.exists(small)


def test_published_pictures_are_not_deleted(desk: Client) -> None:
    image = make_image("published")
    assert desk.post(reverse("admin:shopgen_productimage_delete", args=[image.pk]), {"post": "yes"}).status_code == 403
    assert ProductImage.objects.exists()
