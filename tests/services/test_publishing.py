"""Approved pictures reach the shop once, whole, and can be taken back."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.db.models.signals import post_save, pre_save

from shopgen_django.catalogues import WithdrawOutcome
from shopgen_django.exceptions import (
    FileMissing,
    InvalidParameters,
    InvalidState,
    NotAllowed,
    ProductNotFound,
    PublishError,
    StorageFull,
)
from shopgen_django.models import ImageState, ProductImage, Publication
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve, send_to_review
from shopgen_django.signals import image_published, image_withdrawn
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Category, Product

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    product = Product.objects.create(name="Blue dress", category=Category.objects.create(name="Dresses"))
    product.image.save("photo.png", ContentFile(picture_bytes(colour="#000080")))
    return product


@pytest.fixture
def image(product: Product) -> ProductImage:
    return approved(product)


def approved(product: Product, colour: str = "#ffd700", **fields: Any) -> ProductImage:
    fields = {"catalogue": "default", "object_pk": str(product.pk), "product_label": "Blue dress", **fields}
    return make_image("approved", colour=colour, **fields)


def shop_files(settings: Any) -> dict[str, bytes]:
    root = Path(settings.MEDIA_ROOT)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def standing(product: Product) -> bytes:
    product.refresh_from_db()
    with product.image.open("rb") as handle:
        return handle.read()


def private_bytes(image: ProductImage) -> bytes:
    with image.file.storage.open(image.file.name, "rb") as handle:
        return handle.read()


def test_an_approved_picture_is_copied_into_the_shop(image: ProductImage, product: Product, settings: Any) -> None:
    user = make_user("anna", "publish_productimage")
    before = shop_files(settings)
    publication = publish_image(image=image, user=user)
    assert standing(product) == private_bytes(image)
    assert image.state == ImageState.PUBLISHED
    assert image.published_at is not None
    assert (publication.image, publication.catalogue, publication.object_pk) == (image, "default", str(product.pk))
    assert (publication.placement, publication.published_by, publication.withdrawn_at) == ("main", user, None)
    after = shop_files(settings)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    product.refresh_from_db()
    assert Path(product.image.name).name.startswith("blue-dress-")
    assert (product.name, product.category.name) == ("Blue dress", "Dresses")


def test_what_stood_there_comes_back(image: ProductImage, product: Product, settings: Any) -> None:
    before, name = shop_files(settings), product.image.name
    publish_image(image=image, user=None)
    user = make_user("bo", "withdraw_productimage")
    publication = withdraw_image(image=image, user=user, note=" wrong colour ")
    assert shop_files(settings) == before
    product.refresh_from_db()
    assert product.image.name == name
    assert (image.state, image.published_at) == (ImageState.WITHDRAWN, None)
    assert publication.withdraw_outcome == WithdrawOutcome.RESTORED
    assert (publication.withdrawn_by, publication.note) == (user, "wrong colour")
    assert publication.withdrawn_at is not None


def test_a_withdrawn_picture_can_be_reviewed_and_published_again(image: ProductImage, product: Product) -> None:
    publish_image(image=image, user=None)
    withdraw_image(image=image, user=None)
    with pytest.raises(InvalidState):
        publish_image(image=image, user=None)
    send_to_review(image=image)
    approve(image=image)
    publish_image(image=image, user=None)
    assert Publication.objects.filter(image=image).count() == 2
    assert standing(product) == private_bytes(image)


@pytest.mark.parametrize("state", ["draft", "in_review", "rejected", "published", "withdrawn"])
def test_only_approved_pictures_are_published(state: str, product: Product, settings: Any) -> None:
    before = shop_files(settings)
    image = make_image(state, catalogue="default", object_pk=str(product.pk))
    with pytest.raises(InvalidState, match="only approved"):
        publish_image(image=image, user=None)
    image.refresh_from_db()
    assert (image.state, Publication.objects.count(), shop_files(settings)) == (state, 0, before)


@pytest.mark.parametrize("state", ["draft", "in_review", "approved", "rejected", "withdrawn"])
def test_only_published_pictures_are_withdrawn(state: str, product: Product) -> None:
    image = make_image(state, catalogue="default", object_pk=str(product.pk))
    with pytest.raises(InvalidState, match="only published"):
        withdraw_image(image=image, user=None)


def test_a_stale_row_in_memory_decides_nothing(image: ProductImage) -> None:
    stale = ProductImage.objects.get(pk=image.pk)
    publish_image(image=image, user=None)
    assert stale.state == ImageState.APPROVED
    with pytest.raises(InvalidState):
        publish_image(image=stale, user=None)
    assert Publication.objects.count() == 1


def test_an_approval_that_is_taken_back_at_the_last_moment(
    image: ProductImage, product: Product, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop_files(settings)

    def meanwhile(row: ProductImage) -> bytes:
        ProductImage.objects.filter(pk=row.pk).update(state="in_review", approved_at=None)
        return private_bytes(row)

    monkeypatch.setattr("shopgen_django.services.publishing.read_image", meanwhile)
    with pytest.raises(InvalidState, match="waiting for review"):
        publish_image(image=image, user=None)
    assert (image.state, Publication.objects.count(), shop_files(settings)) == (ImageState.IN_REVIEW, 0, before)


def test_permissions_are_per_verb(image: ProductImage, product: Product) -> None:
    reviewer = make_user("rev", "review_productimage", "withdraw_productimage")
    with pytest.raises(NotAllowed):
        publish_image(image=image, user=reviewer)
    publisher = make_user("pub", "publish_productimage")
    publish_image(image=image, user=publisher)
    with pytest.raises(NotAllowed):
        withdraw_image(image=image, user=publisher)
    assert standing(product) == private_bytes(image)


def test_a_picture_of_a_person_is_never_published(product: Product, settings: Any) -> None:
    before = shop_files(settings)
    image = approved(product, personal=True)
    with pytest.raises(PublishError) as caught:
        publish_image(image=image, user=None)
    assert (caught.value.code, shop_files(settings)) == ("personal_picture", before)


def test_nor_is_anything_made_from_one_however_far_back(image: ProductImage, product: Product) -> None:
    person = make_image("draft", personal=True)
    between = make_image("draft", colour="#123456")
    between.parents.add(person, make_image("draft", colour="#654321"))
    image.parents.add(between)
    with pytest.raises(PublishError) as caught:
        publish_image(image=image, user=None)
    assert caught.value.code == "personal_picture"
    image.refresh_from_db()
    assert image.state == ImageState.APPROVED


def test_lineage_that_runs_in_a_circle_ends(image: ProductImage) -> None:
    other = make_image("draft", colour="#123456")
    image.parents.add(other)
    other.parents.add(image)
    assert publish_image(image=image, user=None).pk


def test_a_picture_without_a_product_says_so() -> None:
    with pytest.raises(PublishError) as caught:
        publish_image(image=make_image("approved"), user=None)
    assert caught.value.code == "no_product"


def test_an_unknown_placement_says_which_there_are(image: ProductImage) -> None:
    with pytest.raises(InvalidParameters, match="main, gallery"):
        publish_image(image=image, user=None, placement="banner")
    with pytest.raises(PublishError, match="Possible: main"):
        publish_image(image=image, user=None, placement="gallery")
    image.refresh_from_db()
    assert image.state == ImageState.APPROVED


def test_a_catalogue_that_is_no_longer_configured(product: Product) -> None:
    image = approved(product, catalogue="old-shop")
    with pytest.raises(PublishError) as caught:
        publish_image(image=image, user=None)
    assert caught.value.code == "catalogue_unavailable"
    assert "old-shop" in str(caught.value)


def test_a_missing_file_is_told_before_the_shop_is_touched(
    image: ProductImage, product: Product, settings: Any
) -> None:
    before = shop_files(settings)
    image.file.storage.delete(image.file.name)
    with pytest.raises(FileMissing, match="missing"):
        publish_image(image=image, user=None)
    image.refresh_from_db()
    assert (image.state, shop_files(settings)) == (ImageState.APPROVED, before)


def test_an_altered_file_is_not_published(image: ProductImage, settings: Any) -> None:
    before = shop_files(settings)
    Path(image.file.storage.path(image.file.name)).write_bytes(picture_bytes(colour="#ff0000"))
    with pytest.raises(FileMissing, match="SHA-256"):
        publish_image(image=image, user=None)
    image.refresh_from_db()
    assert (image.state, shop_files(settings)) == (ImageState.APPROVED, before)


@pytest.fixture
def refusing_shop() -> Iterator[dict[str, Any]]:
    """While it lasts, every save of a product raises: before it is written, or after."""
    chosen: dict[str, Any] = {"error": RuntimeError("the shop says no")}

    def refuse(**kwargs: Any) -> None:
        raise chosen["error"]

    chosen["refuse"] = refuse
    yield chosen
    for signal in (pre_save, post_save):
        signal.disconnect(refuse, sender=Product)


@pytest.mark.parametrize("signal", [pre_save, post_save], ids=["before", "after"])
def test_when_the_shops_save_fails_everything_is_as_before(
    signal: Any, image: ProductImage, product: Product, settings: Any, refusing_shop: dict[str, Any]
) -> None:
    before, name = shop_files(settings), product.image.name
    signal.connect(refusing_shop["refuse"], sender=Product)
    with pytest.raises(PublishError, match="RuntimeError") as caught:
        publish_image(image=image, user=None)
    assert "the shop says no" not in str(caught.value), "the log has the details, the message has none"
    product.refresh_from_db()
    assert (image.state, image.published_at) == (ImageState.APPROVED, None)
    assert (product.image.name, shop_files(settings), Publication.objects.count()) == (name, before, 0)
    signal.disconnect(refusing_shop["refuse"], sender=Product)
    publish_image(image=image, user=None)
    assert standing(product) == private_bytes(image)


def test_when_our_own_row_fails_the_shop_is_as_before(image: ProductImage, product: Product, settings: Any) -> None:
    before, name = shop_files(settings), product.image.name

    def refuse(**kwargs: Any) -> None:
        raise RuntimeError("no")

    pre_save.connect(refuse, sender=Publication)
    try:
        with pytest.raises(PublishError):
            publish_image(image=image, user=None)
    finally:
        pre_save.disconnect(refuse, sender=Publication)
    product.refresh_from_db()
    assert (product.image.name, shop_files(settings), image.state) == (name, before, ImageState.APPROVED)


def test_when_the_shop_refuses_the_withdrawal_the_picture_stays(
    image: ProductImage, product: Product, settings: Any, refusing_shop: dict[str, Any]
) -> None:
    publish_image(image=image, user=None)
    before = shop_files(settings)
    post_save.connect(refusing_shop["refuse"], sender=Product)
    with pytest.raises(PublishError):
        withdraw_image(image=image, user=None)
    assert (image.state, shop_files(settings)) == (ImageState.PUBLISHED, before)
    assert Publication.objects.filter(withdrawn_at=None).count() == 1
    assert standing(product) == private_bytes(image)


def test_a_full_disk_is_told_and_leaves_nothing(
    image: ProductImage, product: Product, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop_files(settings)

    def full(self: Any, name: str, content: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileSystemStorage, "_save", full)
    with pytest.raises(StorageFull):
        publish_image(image=image, user=None)
    assert (image.state, shop_files(settings)) == (ImageState.APPROVED, before)


def test_a_newer_picture_of_a_person_is_left_alone_and_said_so(image: ProductImage, product: Product) -> None:
    publish_image(image=image, user=None)
    product.refresh_from_db()
    product.image.save("by-hand.png", ContentFile(picture_bytes(colour="#ff0000")))
    publication = withdraw_image(image=image, user=None)
    assert publication.withdraw_outcome == WithdrawOutcome.KEPT_NEWER
    assert standing(product) == picture_bytes(colour="#ff0000")
    assert image.state == ImageState.WITHDRAWN


@pytest.mark.parametrize("upper_first", [True, False])
def test_a_withdrawn_picture_never_comes_back_by_withdrawing_the_next(
    upper_first: bool, product: Product, settings: Any
) -> None:
    before = shop_files(settings)
    lower, upper = approved(product, "#ffd700"), approved(product, "#ffc0cb")
    publish_image(image=lower, user=None)
    publish_image(image=upper, user=None)
    for image in (upper, lower) if upper_first else (lower, upper):
        withdraw_image(image=image, user=None)
    assert standing(product) == picture_bytes(colour="#000080")
    assert shop_files(settings) == before


def test_a_previous_file_that_is_gone_leaves_no_broken_picture(image: ProductImage, product: Product) -> None:
    previous = product.image.name
    publish_image(image=image, user=None)
    product.image.storage.delete(previous)
    publication = withdraw_image(image=image, user=None)
    assert publication.withdraw_outcome == WithdrawOutcome.PREVIOUS_MISSING
    product.refresh_from_db()
    assert not product.image


# Deleted products


def test_a_deleted_product_leaves_a_tombstone(image: ProductImage, product: Product) -> None:
    other = make_image("in_review", catalogue="other", object_pk=str(product.pk), colour="#111111")
    product.delete()
    for row in (image, other):
        row.refresh_from_db()
    assert image.product_deleted_at is not None
    assert (image.product_label, image.object_pk, image.state) == ("Blue dress", image.object_pk, ImageState.APPROVED)
    assert other.product_deleted_at is None, "the same key in another catalogue is another product"
    with pytest.raises(ProductNotFound, match="Blue dress") as caught:
        publish_image(image=image, user=None)
    assert caught.value.code == "product_deleted"


def test_deleting_many_at_once_leaves_tombstones_with_labels(product: Product) -> None:
    images = [approved(product, colour, product_label="") for colour in ("#111111", "#222222")]
    Product.objects.all().delete()
    for image in images:
        image.refresh_from_db()
        assert image.product_deleted_at is not None
        assert image.product_label == "Blue dress"


def test_a_deletion_that_is_rolled_back_leaves_none(image: ProductImage, product: Product) -> None:
    with transaction.atomic():
        Product.objects.all().delete()
        transaction.set_rollback(True)
    image.refresh_from_db()
    assert image.product_deleted_at is None
    assert publish_image(image=image, user=None).pk


def test_withdrawing_from_a_deleted_product_works(image: ProductImage, product: Product, settings: Any) -> None:
    publish_image(image=image, user=None)
    content = private_bytes(image)
    product.delete()
    publication = withdraw_image(image=image, user=None)
    assert publication.withdraw_outcome == WithdrawOutcome.PRODUCT_GONE
    assert image.state == ImageState.WITHDRAWN
    assert content not in shop_files(settings).values()


def test_a_product_that_was_deleted_behind_our_back(image: ProductImage, product: Product, settings: Any) -> None:
    Product.objects.filter(pk=product.pk)._raw_delete("default")
    before = shop_files(settings)
    with pytest.raises(ProductNotFound) as caught:
        publish_image(image=image, user=None)
    assert caught.value.code == "product_not_found"
    assert (image.state, shop_files(settings)) == (ImageState.APPROVED, before)


# Signals


def test_signals_come_after_the_commit_and_can_break_nothing(image: ProductImage) -> None:
    heard: list[tuple[str, str, bool]] = []

    def listen(*, signal: Any, image: ProductImage, publication: Publication, **kwargs: Any) -> None:
        name = "published" if signal is image_published else f"withdrawn {kwargs['outcome']}"
        heard.append((name, str(image.pk), transaction.get_connection().in_atomic_block))
        raise RuntimeError("a receiver's own trouble")

    image_published.connect(listen)
    image_withdrawn.connect(listen)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            publish_image(image=image, user=None)
            assert heard == []
            raise RuntimeError("rolled back")
        assert heard == []
        image.refresh_from_db()
        publish_image(image=image, user=None)
        withdraw_image(image=image, user=None)
    finally:
        image_published.disconnect(listen)
        image_withdrawn.disconnect(listen)
    assert heard == [("published", str(image.pk), False), ("withdrawn restored", str(image.pk), False)]
    assert image.state == ImageState.WITHDRAWN
