"""Whatever people do in whatever order, pictures, publications, files and the shop agree.

Hypothesis plays merchandisers who make, review, publish, withdraw and delete pictures and products in random order, in
a shop with the picture on the product and in one with a table of pictures. A simple model says what must come out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shopgen_django.catalogues import get_catalogue
from shopgen_django.catalogues.base import WithdrawOutcome
from shopgen_django.exceptions import InvalidState, PublishError, ShopgenError
from shopgen_django.models import APPROVED_STATES, ImageState, ProductImage, Publication, Review
from shopgen_django.services.images import delete_image
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve, reject, send_to_review
from shopgen_django.storage import private_storage, read_image
from tests.factories import make_image, picture_bytes
from tests.testshop.models import Garment, GarmentPhoto, Product

NUMBERS = st.integers(0, 999)
CATALOGUES = {
    "default": {"OPTIONS": {"MODEL": "testshop.Product"}},
    "garments": {"OPTIONS": {"MODEL": "testshop.Garment"}},
}


@dataclass(slots=True, eq=False)
class ShopProduct:
    """What must stand on a product, the main picture first."""

    alias: str
    pk: str
    row: Any
    standing: list[bytes] = field(default_factory=list)
    deleted: bool = False


@dataclass(slots=True, eq=False)
class Made:
    """What must be true of a picture."""

    row: ProductImage
    product: ShopProduct
    content: bytes
    state: str
    personal: bool
    deleted: bool = False


class Shop(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        for model in (Publication, Review, ProductImage, GarmentPhoto, Garment, Product):
            model.objects.all().delete()
        shutil.rmtree(django_settings.MEDIA_ROOT, ignore_errors=True)
        self.count = 0
        self.all_products: list[ShopProduct] = []
        self.all_pictures: list[Made] = []

    def fresh(self) -> bytes:
        """A picture that no other one is equal to."""
        self.count += 1
        return picture_bytes(colour=f"#{self.count * 40503 % 0xFFFFFF:06x}", width=64, height=64)

    def refused(self, call: Callable[[], Any], *kinds: type[ShopgenError]) -> None:
        with pytest.raises(kinds):
            call()

    def pick(self, number: int, state: str) -> Made:
        """A picture in this state where there is one; each sixth time any, so that refusals are played as well."""
        alive = [picture for picture in self.all_pictures if not picture.deleted]
        fitting = [picture for picture in alive if picture.state == state]
        chosen = alive if number % 6 == 5 or not fitting else fitting
        return chosen[number % len(chosen)]

    def some_are_alive(self) -> bool:
        return any(not picture.deleted for picture in self.all_pictures)

    def few_are_alive(self) -> bool:
        return sum(not picture.deleted for picture in self.all_pictures) < 9

    @initialize()
    def shop(self) -> None:
        for table in (False, True):
            self.product(table)
            for _number in range(3):
                self.make(self.all_products[-1], False, False)
                self.decide_on(self.all_pictures[-1], True)

    def product(self, table: bool) -> None:
        original = self.fresh()
        if table:
            garment = Garment.objects.create(title="Coat")
            GarmentPhoto(garment=garment).photo.save("original.png", ContentFile(original))
            made = ShopProduct("garments", str(garment.pk), garment, [original])
        else:
            row = Product.objects.create(name="Dress")
            row.image.save("original.png", ContentFile(original))
            made = ShopProduct("default", str(row.pk), row, [original])
        self.all_products.append(made)

    @precondition(few_are_alive)
    @rule(number=NUMBERS, held_back=st.booleans(), personal=st.sampled_from([False] * 4 + [True]))
    def make_one(self, number: int, held_back: bool, personal: bool) -> None:
        self.make(self.all_products[number % len(self.all_products)], held_back, personal)

    def make(self, product: ShopProduct, held_back: bool, personal: bool) -> None:
        content = self.fresh()
        state = ImageState.DRAFT if held_back else ImageState.IN_REVIEW
        row = make_image(
            state, content=content, catalogue=product.alias, object_pk=product.pk, personal=personal,
            product_deleted_at=None if not product.deleted else "2026-01-01T00:00:00Z",
        )
        made = Made(row, product, content, state, personal)
        self.all_pictures.append(made)

    @precondition(some_are_alive)
    @rule(number=NUMBERS)
    def send(self, number: int) -> None:
        picture = self.pick(number, ImageState.REJECTED)
        possible = picture.state in {ImageState.DRAFT, ImageState.REJECTED, ImageState.WITHDRAWN}
        if not possible:
            self.refused(lambda: send_to_review(image=picture.row), InvalidState)
            return
        send_to_review(image=picture.row)
        picture.state = ImageState.IN_REVIEW

    @precondition(some_are_alive)
    @rule(number=NUMBERS, yes=st.sampled_from([True, True, False]))
    def decide(self, number: int, yes: bool) -> None:
        self.decide_on(self.pick(number, ImageState.IN_REVIEW), yes)

    def decide_on(self, picture: Made, yes: bool) -> None:
        def call() -> ProductImage:
            return approve(image=picture.row) if yes else reject(image=picture.row, reason="crooked")

        if picture.state != ImageState.IN_REVIEW:
            self.refused(call, InvalidState)
            return
        call()
        picture.state = ImageState.APPROVED if yes else ImageState.REJECTED

    @precondition(some_are_alive)
    @rule(number=NUMBERS)
    def approve_and_publish(self, number: int) -> None:
        picture = self.pick(number, ImageState.IN_REVIEW)
        if picture.state == ImageState.IN_REVIEW:
            self.decide_on(picture, True)
        self.publish_it(picture, number % 4 != 3)

    @precondition(some_are_alive)
    @rule(number=NUMBERS, front=st.booleans())
    def publish(self, number: int, front: bool) -> None:
        self.publish_it(self.pick(number, ImageState.APPROVED), front)

    def publish_it(self, picture: Made, front: bool) -> None:
        product = picture.product
        front = front or product.alias == "default"
        placement = "main" if front else "gallery"

        def call() -> Publication:
            return publish_image(image=picture.row, user=None, placement=placement)

        if picture.state != ImageState.APPROVED:
            self.refused(call, InvalidState)
        elif picture.personal:
            self.refused(call, PublishError)
        elif product.deleted:
            self.refused(call, ShopgenError)
        else:
            call()
            product.standing.insert(0 if front else len(product.standing), picture.content)
            picture.state = ImageState.PUBLISHED

    @precondition(some_are_alive)
    @rule(number=NUMBERS)
    def withdraw(self, number: int) -> None:
        picture = self.pick(number, ImageState.PUBLISHED)
        if picture.state != ImageState.PUBLISHED:
            self.refused(lambda: withdraw_image(image=picture.row, user=None), InvalidState)
            return
        publication = withdraw_image(image=picture.row, user=None)
        picture.state = ImageState.WITHDRAWN
        if picture.product.deleted:
            assert publication.withdraw_outcome == WithdrawOutcome.PRODUCT_GONE
        else:
            picture.product.standing.remove(picture.content)

    @rule(number=NUMBERS)
    def a_person_puts_a_picture_there(self, number: int) -> None:
        product = self.all_products[number % len(self.all_products)]
        if product.deleted or product.alias != "default":
            return
        content = self.fresh()
        product.row.refresh_from_db()
        product.row.image.save("by-hand.png", ContentFile(content))
        product.standing.insert(0, content)

    @rule(number=NUMBERS)
    def delete_product(self, number: int) -> None:
        product = self.all_products[number % len(self.all_products)]
        # Now and then only, or most runs would play in an empty shop.
        if product.deleted or number % 9 != 7:
            return
        product.row.delete()
        product.deleted = True

    @precondition(some_are_alive)
    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        picture = self.pick(number, ImageState.WITHDRAWN)
        if picture.state == ImageState.PUBLISHED:
            self.refused(lambda: delete_image(image=picture.row), InvalidState)
            return
        name = str(picture.row.file.name)
        delete_image(image=picture.row)
        picture.deleted = True
        assert not private_storage().exists(name)

    @invariant()
    def rows_are_as_they_should_be(self) -> None:
        for picture in self.all_pictures:
            row = ProductImage.objects.filter(pk=picture.row.pk).first()
            assert (row is None) == picture.deleted
            if row is None:
                continue
            assert row.state == picture.state
            assert (row.approved_at is not None) == (row.state in APPROVED_STATES)
            assert (row.published_at is not None) == (row.state == ImageState.PUBLISHED)
            assert (row.product_deleted_at is not None) == picture.product.deleted
            assert read_image(row) == picture.content
            standing = row.publications.filter(withdrawn_at__isnull=True).count()
            assert standing == (row.state == ImageState.PUBLISHED)

    @invariant()
    def the_shop_shows_what_it_should(self) -> None:
        for product in self.all_products:
            if product.deleted:
                continue
            catalogue = get_catalogue(product.alias)
            shown = []
            for picture in catalogue.pictures(product.pk):
                with catalogue.open_picture(product.pk, picture.key) as handle:
                    shown.append(handle.read())
            assert shown == (product.standing if product.alias == "garments" else product.standing[:1])

    @invariant()
    def no_file_of_ours_is_left_in_the_shop(self) -> None:
        published = sum(picture.state == ImageState.PUBLISHED for picture in self.all_pictures)
        files = [path for path in Path(django_settings.MEDIA_ROOT).rglob("picture-*") if path.is_file()]
        assert len(files) == published


@pytest.mark.django_db(transaction=True)
def test_pictures_and_shop_agree_whatever_is_done(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "CATALOGUES": CATALOGUES}
    run_state_machine_as_test(
        Shop, settings=hypothesis_settings(max_examples=15, stateful_step_count=40, derandomize=True, database=None)
    )
