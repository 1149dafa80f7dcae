"""The contract of a catalogue adapter as tests: a shop runs them on an adapter of its own.

Mix :class:`CatalogueContract` into a Django TestCase (or a plain class that pytest collects, marked ``django_db``) and
say how your shop makes a product::

    class TestOurCatalogue(CatalogueContract, TestCase):
        def make_catalogue(self):
            return OurCatalogue("default")

        def make_product(self, *, title, category="", picture=None):
            product = Product.objects.create(name=title, ...)
            return str(product.pk)

        def person_replaces(self, pk, content):
            Product.objects.get(pk=pk).image.save("by-hand.png", ContentFile(content))

Every test is one promise that publishing and training rely on.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from django.core.checks import CheckMessage
from django.core.files.base import ContentFile
from django.db import connections, transaction
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext

from shopgen_django.exceptions import FileMissing, ProductNotFound, PublishError

from .base import Receipt, WithdrawOutcome
from .testing_base import ShopRefused, png
from .testing_texts import TextContract

__all__ = ["CatalogueContract", "png"]


class CatalogueContract(TextContract):
    """The promises of :class:`shopgen_django.catalogues.Catalogue`, one test each."""

    # Reading

    def test_checks_find_no_error(self) -> None:
        messages: list[CheckMessage] = self.make_catalogue().check()
        assert not [message for message in messages if message.is_serious()], messages

    def test_products_are_streamed_each_once_in_a_stable_order(self) -> None:
        made = [self.make_product(title=f"Thing {number}") for number in range(5)]
        stream = self.make_catalogue().products()
        assert hasattr(stream, "__next__"), "products() has to return an iterator, not a list"
        found = [product.pk for product in stream]
        assert all(isinstance(pk, str) for pk in found), "a product's pk has to be text"
        assert sorted(found) == sorted(set(found)), "a product comes twice"
        assert set(made) <= set(found), "a product is missing"
        assert found == [product.pk for product in self.make_catalogue().products()], "the order changes"

    def test_products_take_the_same_number_of_queries_for_three_as_for_twelve(self) -> None:
        def queries() -> int:
            catalogue = self.make_catalogue()
            with CaptureQueriesContext(connections[catalogue.database]) as captured:
                products = list(catalogue.products())
                assert all(product.title for product in products)
            return len(captured)

        for number in range(3):
            self.make_product(title=f"Few {number}", category="Shirts")
        few = queries()
        for number in range(9):
            self.make_product(title=f"More {number}", category="Hats")
        many = queries()
        assert many <= few, f"{few} queries for three products, {many} for twelve"

    def test_products_can_be_chosen_by_key(self) -> None:
        first, second = self.make_product(title="First"), self.make_product(title="Second")
        self.make_product(title="Third")
        found = [product.pk for product in self.make_catalogue().products(pks=[second, first, *self.missing_pks()])]
        assert sorted(found) == sorted([first, second]), found
        assert self._titles(pks=[]) == [], "no key chosen means no product"

    def test_products_can_be_searched_in_any_letter_case(self) -> None:
        self.make_product(title="Blue Summer Dress")
        self.make_product(title="Red hat")
        assert self._titles(search="summer") == ["Blue Summer Dress"]
        assert self._titles(search="BLUE") == ["Blue Summer Dress"]
        assert self._titles(search="100%") == [], "the text is no pattern"

    def test_categories_are_sorted_and_choose_products(self) -> None:
        if not self.has_categories:
            assert self.make_catalogue().categories() == []
            return
        self.make_product(title="A", category="Shirts")
        self.make_product(title="B", category="Hats")
        self.make_product(title="C", category="Shirts")
        names = self.make_catalogue().categories()
        assert names == ["Hats", "Shirts"], names
        found = list(self.make_catalogue().products(category="Shirts"))
        assert sorted(product.title for product in found) == ["A", "C"], found
        assert {product.category for product in found} == {"Shirts"}
        assert self._titles(category="Shirt") == [], "only exactly this category"
        assert self._titles(category="Nothing of the kind") == []

    def test_get_gives_the_product_or_says_that_there_is_none(self) -> None:
        pk = self.make_product(title="Blue dress", category="Dresses")
        product = self.make_catalogue().get(pk)
        assert (product.pk, product.title) == (pk, "Blue dress")
        assert not self.has_categories or product.category == "Dresses", product
        for missing in self.missing_pks():
            self._raises(ProductNotFound, f"get({missing[:20]!r})", partial(self.make_catalogue().get, missing))

    def test_pictures_can_be_listed_and_opened(self) -> None:
        bare, shown = self.make_product(title="Bare"), self.make_product(title="Shown", picture=png("navy"))
        assert self._pictures(bare) == []
        pictures = self._pictures(shown)
        assert [picture.position for picture in pictures] == [0], pictures
        assert self._contents(shown) == [png("navy")]
        catalogue = self.make_catalogue()
        for missing in self.missing_pks():
            self._raises(ProductNotFound, "pictures()", partial(catalogue.pictures, missing))
            self._raises(ProductNotFound, "open_picture()", partial(catalogue.open_picture, missing, pictures[0].key))
        self._raises(FileMissing, "an unknown key", partial(catalogue.open_picture, shown, "no-such-key"))

    # Publishing

    def test_publishing_makes_the_picture_the_main_one(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        self._publish(pk, png("gold"), alt="Ein goldenes Kleid – 金色连衣裙")
        first = self._pictures(pk)[0]
        assert first.position == 0
        assert self._bytes(pk, first.key) == png("gold"), "the main picture is not the published one"
        if self.make_catalogue().supports_alt_text:
            assert first.alt_text == "Ein goldenes Kleid – 金色连衣裙", first

    def test_publishing_leaves_every_file_that_was_there(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        before = self.stored_files()
        self._publish(pk, png("gold"))
        after = self.stored_files()
        assert {name: after.get(name) for name in before} == before, "a file was removed or overwritten"
        assert png("gold") in after.values(), "the picture was not copied into the shop's storage"

    def test_one_file_name_twice_makes_two_files(self) -> None:
        first, second = self.make_product(title="One"), self.make_product(title="Two")
        self._publish(first, png("gold"))
        self._publish(second, png("pink"))
        assert self._contents(first) == [png("gold")], "the second product's picture overwrote the first's"
        assert self._contents(second) == [png("pink")]

    def test_an_overlong_text_alternative_is_no_error(self) -> None:
        pk = self.make_product(title="Dress")
        self._publish(pk, png("gold"), alt="word " * 100)
        assert self._contents(pk) == [png("gold")]

    def test_a_product_that_does_not_exist_takes_no_picture(self) -> None:
        before = self.stored_files()
        for missing in self.missing_pks():
            self._raises(ProductNotFound, "publish()", partial(self._publish, missing, png()))
        assert self.stored_files() == before, "a file was left behind"

    def test_a_placement_that_the_shop_lacks_is_refused(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        self._raises(PublishError, "an unknown placement", lambda: self._publish(pk, png(), placement="banner"))
        if not self.make_catalogue().supports_gallery:
            self._raises(PublishError, "a gallery", lambda: self._publish(pk, png(), placement="gallery"))
        assert self._contents(pk) == [png("navy")]

    def test_when_the_shops_save_fails_nothing_is_left_behind(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        pictures, stored = self._pictures(pk), self.stored_files()

        def refuse(**kwargs: Any) -> None:
            raise ShopRefused

        pre_save.connect(refuse)
        try:
            self._publish(pk, png("gold"))
        except Exception:  # noqa: S110 - whatever it raises: the state afterwards is what counts
            pass
        else:
            raise AssertionError("publish() has to raise when the shop's save does")
        finally:
            pre_save.disconnect(refuse)
        assert self._pictures(pk) == pictures
        assert self.stored_files() == stored, "a file was left behind, or one is missing"

    def test_discard_removes_the_file_of_a_publication_that_was_rolled_back(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        pictures, stored = self._pictures(pk), self.stored_files()
        catalogue = self.make_catalogue()
        receipt: Receipt = {}
        with contextlib.suppress(ShopRefused), transaction.atomic(using=catalogue.database):
            content = ContentFile(png("gold"))
            receipt = catalogue.publish(pk, content=content, filename="a.png", alt_text="", placement="main")
            raise ShopRefused
        catalogue.discard(receipt)
        assert self._pictures(pk) == pictures
        assert self.stored_files() == stored, "a file was left behind, or one is missing"

    # Taking back

    def test_withdrawing_brings_back_what_stood_there(self) -> None:
        for picture in (png("navy"), None):
            pk = self.make_product(title="Dress", picture=picture)
            pictures, contents, stored = self._pictures(pk), self._contents(pk), self.stored_files()
            receipt = self._publish(pk, png("gold"), alt="Gold")
            assert self._contents(pk) != contents
            assert self._withdraw(pk, receipt) == WithdrawOutcome.RESTORED
            assert self._pictures(pk) == pictures
            assert self._contents(pk) == contents
            assert self.stored_files() == stored, "the published copy was left, or another file is gone"

    def test_a_newer_picture_of_a_person_is_left_alone(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        receipt = self._publish(pk, png("gold"))
        self.person_replaces(pk, png("red"))
        assert self._withdraw(pk, receipt) == WithdrawOutcome.KEPT_NEWER
        assert self._contents(pk)[0] == png("red"), "the person's picture is gone"
        assert png("gold") not in self._contents(pk), "the withdrawn picture still stands there"

    def test_a_deleted_product_is_an_outcome_of_withdrawing(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        receipt = self._publish(pk, png("gold"))
        self.delete_product(pk)
        assert self._withdraw(pk, receipt) == WithdrawOutcome.PRODUCT_GONE
        self._raises(ProductNotFound, "publish() to a deleted product", lambda: self._publish(pk, png()))
        assert png("gold") not in self.stored_files().values(), "the published copy was left in the shop's storage"

    def test_two_publications_can_be_withdrawn_in_either_order(self) -> None:
        for last_first in (True, False):
            pk = self.make_product(title="Dress", picture=png("navy"))
            pictures = self._pictures(pk)
            lower = self._publish(pk, png("gold"))
            upper = self._publish(pk, png("pink"))
            if last_first:
                assert self._withdraw(pk, upper) == WithdrawOutcome.RESTORED
                assert self._contents(pk)[0] == png("gold")
                assert self._withdraw(pk, lower) == WithdrawOutcome.RESTORED
            else:
                assert self._withdraw(pk, lower) == WithdrawOutcome.KEPT_NEWER
                assert self._contents(pk)[0] == png("pink")
                upper = self.make_catalogue().rebase(upper, lower) or upper
                assert self._withdraw(pk, upper) == WithdrawOutcome.RESTORED
            assert self._pictures(pk) == pictures, "not as it was before both"

    def test_a_gallery_picture_comes_last_and_can_be_taken_back(self) -> None:
        if not self.make_catalogue().supports_gallery:
            return
        pk = self.make_product(title="Dress", picture=png("navy"))
        pictures, stored = self._pictures(pk), self.stored_files()
        receipt = self._publish(pk, png("gold"), placement="gallery")
        assert self._contents(pk) == [png("navy"), png("gold")]
        assert self._withdraw(pk, receipt) == WithdrawOutcome.RESTORED
        assert self._pictures(pk) == pictures
        assert self.stored_files() == stored

    def test_the_main_picture_goes_before_a_gallery_whose_order_comes_back(self) -> None:
        if not self.make_catalogue().supports_gallery:
            return
        pk = self.make_product(title="Dress", picture=png("navy"))
        self._publish(pk, png("red"), placement="gallery")
        self._publish(pk, png("green"), placement="gallery")
        pictures = self._pictures(pk)
        receipt = self._publish(pk, png("gold"))
        assert self._contents(pk) == [png("gold"), png("navy"), png("red"), png("green")]
        assert self._withdraw(pk, receipt) == WithdrawOutcome.RESTORED
        assert self._pictures(pk) == pictures

    def test_the_admin_address_is_an_address_or_nothing(self) -> None:
        url = self.make_catalogue().admin_change_url(self.make_product(title="Dress"))
        assert url is None or url.startswith("/"), url
