"""Several people publish, withdraw and delete at the same moment: whatever the order, the rows and the shop agree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connections

from shopgen_django.exceptions import InvalidState, ProductNotFound
from shopgen_django.models import ImageState, ProductImage, Publication
from shopgen_django.services.publishing import publish_image, withdraw_image
from tests.factories import make_image, picture_bytes
from tests.testshop.models import Product

pytestmark = pytest.mark.django_db(transaction=True)
ORIGINAL = picture_bytes(colour="#000080")


def together(calls: list[Callable[[], Any]]) -> list[Any]:
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


def make_product() -> Product:
    product = Product.objects.create(name="Dress")
    product.image.save("photo.png", ContentFile(ORIGINAL))
    return product


def approved(product: Product, colour: str = "#ffd700") -> ProductImage:
    return make_image("approved", colour=colour, catalogue="default", object_pk=str(product.pk), product_label="Dress")


def publisher(image: ProductImage) -> Callable[[], Any]:
    row = ProductImage.objects.get(pk=image.pk)
    return lambda: publish_image(image=row, user=None)


def withdrawer(image: ProductImage) -> Callable[[], Any]:
    row = ProductImage.objects.get(pk=image.pk)
    return lambda: withdraw_image(image=row, user=None)


def shop_files(settings: Any) -> list[bytes]:
    return [path.read_bytes() for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def standing(product: Product) -> bytes:
    product.refresh_from_db()
    with product.image.open("rb") as handle:
        return handle.read()


def test_twenty_publish_the_same_picture_and_one_does(settings: Any) -> None:
    for _round in range(3):
        product = make_product()
        image = approved(product)
        files = len(shop_files(settings))
        results = together([publisher(image) for _ in range(20)])
        winners = [one for one in results if isinstance(one, Publication)]
        assert len(winners) == 1, results
        assert all(isinstance(one, InvalidState) for one in results if one not in winners), results
        assert Publication.objects.filter(image=image).count() == 1
        assert len(shop_files(settings)) == files + 1
        assert standing(product) == picture_bytes(colour="#ffd700")


def test_ten_withdraw_the_same_picture_and_one_does(settings: Any) -> None:
    product = make_product()
    image = approved(product)
    publish_image(image=image, user=None)
    results = together([withdrawer(image) for _ in range(10)])
    assert sum(isinstance(one, Publication) for one in results) == 1, results
    assert sum(isinstance(one, InvalidState) for one in results) == 9, results
    assert standing(product) == ORIGINAL
    assert shop_files(settings) == [ORIGINAL]


def test_two_pictures_on_one_product_leave_a_chain_that_unwinds(settings: Any) -> None:
    for turn in range(10):
        product = make_product()
        files = len(shop_files(settings))
        images = [approved(product, "#ffd700"), approved(product, "#ffc0cb")]
        results = together([publisher(image) for image in images])
        assert all(isinstance(one, Publication) for one in results), results
        results = together([withdrawer(image) for image in (images if turn % 2 else images[::-1])])
        assert all(isinstance(one, Publication) for one in results), results
        assert standing(product) == ORIGINAL
        assert len(shop_files(settings)) == files


def test_deleting_the_product_while_it_is_published_to(settings: Any) -> None:
    for _round in range(20):
        product = make_product()
        key = product.pk
        image = approved(product)
        delete = Product.objects.filter(pk=key).delete
        published, deleted = together([publisher(image), delete])
        assert deleted[0] == 1, deleted
        image.refresh_from_db()
        assert image.product_deleted_at is not None
        if isinstance(published, Publication):
            assert image.state == ImageState.PUBLISHED
            assert withdraw_image(image=image, user=None).withdraw_outcome == "product_gone"
        else:
            assert isinstance(published, ProductNotFound), published
            assert image.state == ImageState.APPROVED
        assert picture_bytes(colour="#ffd700") not in shop_files(settings), "a file without a product"


def test_withdrawing_while_a_person_replaces_the_picture(settings: Any) -> None:
    red = picture_bytes(colour="#ff0000")
    for _round in range(10):
        product = make_product()
        image = approved(product)
        publish_image(image=image, user=None)

        def replace(key: Any = product.pk) -> None:
            Product.objects.get(pk=key).image.save("by-hand.png", ContentFile(red))

        withdrawn, replaced = together([withdrawer(image), replace])
        assert isinstance(withdrawn, Publication), withdrawn
        assert replaced is None, replaced
        assert standing(product) == red
