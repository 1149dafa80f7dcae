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
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

from django.core.checks import CheckMessage
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, default_storage
from django.db import connections, transaction
from django.db.models.signals import pre_save
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from PIL import Image

from shopgen_django.exceptions import FileMissing, ProductNotFound, PublishError

from .base import Catalogue, Picture, Receipt, WithdrawOutcome


def png(colour: str = "teal", size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG of one colour, as bytes."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


class _ShopRefused(Exception):
    """Raised by the contract in place of the shop's save."""


class CatalogueContract:
    """The promises of :class:`shopgen_django.catalogues.Catalogue`, one test each."""

    has_categories = True
    """Set to False for a shop that has none: ``make_product`` may then ignore the category."""

    # Hooks

    def make_catalogue(self) -> Catalogue:
        """The adapter under test."""
        raise NotImplementedError

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        """A product on offer, with ``picture`` as its main one if given; its key as text."""
        raise NotImplementedError

    def person_replaces(self, pk: str, content: bytes) -> None:
        """What a person of the shop does to give the product another main picture."""
        raise NotImplementedError

    def delete_product(self, pk: str) -> None:
        """What a person of the shop does to delete the product."""
        catalogue = self.make_catalogue()
        catalogue.model._base_manager.get(pk=catalogue.to_pk(pk)).delete()

    def missing_pks(self) -> list[str]:
        """Keys that no product has, some of which can't be keys at all."""
        return ["987654321", "00000000-0000-4000-8000-000000000000", "no such key", "", "\x00", "9" * 200]

    def storage(self) -> Storage:
        """The storage of the shop's pictures."""
        return default_storage

    def stored_files(self) -> dict[str, bytes]:
        """Every file of the shop's storage."""
        storage = self.storage()
        if not isinstance(storage, FileSystemStorage) and not hasattr(storage, "location"):
            raise NotImplementedError("Override stored_files() for a storage that isn't a folder.")
        found = {}
        for folder, _folders, names in os.walk(str(storage.location)):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as handle:
                    found[path] = handle.read()
        return found

    # Helpers

    def _publish(self, pk: str, content: bytes, *, alt: str = "A picture", placement: Any = "main") -> Receipt:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            receipt = catalogue.publish(
                pk, content=ContentFile(content), filename="made.png", alt_text=alt, placement=placement
            )
        stored = json.loads(json.dumps(receipt))
        assert isinstance(stored, dict), "publish() has to return a dict that JSON can hold"
        assert stored == receipt, f"the receipt changes when it is stored as JSON: {receipt!r}"
        return stored

    def _withdraw(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            outcome = catalogue.withdraw(pk, receipt)
        assert isinstance(outcome, WithdrawOutcome), f"withdraw() has to return a WithdrawOutcome, not {outcome!r}"
        return outcome

    @contextlib.contextmanager
    def _committed(self, catalogue: Catalogue) -> Iterator[None]:
        """A transaction whose on_commit functions run, although the test itself is rolled back."""
        with (
            TestCase.captureOnCommitCallbacks(using=catalogue.database, execute=True),
            transaction.atomic(using=catalogue.database),
        ):
            yield

    def _pictures(self, pk: str) -> list[Picture]:
        return self.make_catalogue().pictures(pk)

    def _bytes(self, pk: str, key: str) -> bytes:
        with contextlib.closing(self.make_catalogue().open_picture(pk, key)) as handle:
            return handle.read()

    def _contents(self, pk: str) -> list[bytes]:
        return [self._bytes(pk, picture.key) for picture in self._pictures(pk)]

    def _titles(self, **filters: Any) -> list[str]:
        return [product.title for product in self.make_catalogue().products(**filters)]

    def _raises(self, expected: type[Exception], what: str, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except expected:
            return
        except Exception as error:
            raise AssertionError(f"{what} has to raise {expected.__name__}, not {error!r}") from error
        if hasattr(result, "close"):
            result.close()
        raise AssertionError(f"{what} has to raise {expected.__name__}")

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
            raise _ShopRefused

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
        with contextlib.suppress(_ShopRefused), transaction.atomic(using=catalogue.database):
            content = ContentFile(png("gold"))
            receipt = catalogue.publish(pk, content=content, filename="a.png", alt_text="", placement="main")
            raise _ShopRefused
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

    # Texts

    def _write(self, pk: str, kind: str, text: str) -> Receipt:
        catalogue = self.make_catalogue()
        key = self._pictures(pk)[0].key if kind == "alt_text" else ""
        with self._committed(catalogue):
            receipt = catalogue.write_text(pk, kind, text, key)
        assert json.loads(json.dumps(receipt)) == receipt, f"the receipt changes when it is stored: {receipt!r}"
        return receipt

    def _restore(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            return catalogue.restore_text(pk, receipt)

    def _text(self, pk: str, kind: str) -> str:
        key = self._pictures(pk)[0].key if kind == "alt_text" else ""
        return self.make_catalogue().read_text(pk, kind, key)

    def _texts(self) -> list[str]:
        return [kind for kind in self.make_catalogue().text_kinds if kind != "tags"]

    def test_texts_can_be_written_read_and_taken_back(self) -> None:
        for kind in self._texts():
            pk = self.make_product(title="Dress", picture=png("navy"))
            before = self._text(pk, kind)
            first = self._write(pk, kind, "Tea & <b>cake</b> – 金色连衣裙")
            assert self._text(pk, kind) == "Tea & <b>cake</b> – 金色连衣裙", "a plain text has to stay one"
            second = self._write(pk, kind, "Another text")
            assert self._restore(pk, second) == WithdrawOutcome.RESTORED
            assert self._text(pk, kind) == "Tea & <b>cake</b> – 金色连衣裙"
            assert self._restore(pk, first) == WithdrawOutcome.RESTORED
            assert self._text(pk, kind) == before, f"{kind} is not as it was"

    def test_a_newer_text_of_a_person_is_left_alone(self) -> None:
        for kind in self._texts():
            pk = self.make_product(title="Dress", picture=png("navy"))
            receipt = self._write(pk, kind, "Ours")
            self._write(pk, kind, "A person’s")
            assert self._restore(pk, receipt) == WithdrawOutcome.KEPT_NEWER
            assert self._text(pk, kind) == "A person’s"

    def test_texts_need_a_product_and_a_place(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        catalogue = self.make_catalogue()
        self._raises(PublishError, "an unknown kind", lambda: catalogue.write_text(pk, "poem", "Roses"))
        self._raises(PublishError, "an unknown kind", lambda: catalogue.read_text(pk, "poem"))
        for kind in self._texts():
            receipt = self._write(pk, kind, "Ours")
            for missing in self.missing_pks():
                self._raises(ProductNotFound, "write_text()", partial(catalogue.write_text, missing, kind, "Ours"))
            if kind == "alt_text":
                self._raises(FileMissing, "an unknown key", partial(catalogue.write_text, pk, kind, "x", "no-key"))
            other = self.make_product(title="Other")
            self.delete_product(other)
            assert self._restore(other, receipt) == WithdrawOutcome.PRODUCT_GONE

    def test_a_title_that_does_not_fit_is_refused_and_nothing_changes(self) -> None:
        if "title" not in self._texts():
            return
        pk = self.make_product(title="Dress")
        self._raises(PublishError, "a title of 5,000 signs", lambda: self._write(pk, "title", "x" * 5000))
        assert self.make_catalogue().get(pk).title == "Dress"

    def test_the_admin_address_is_an_address_or_nothing(self) -> None:
        url = self.make_catalogue().admin_change_url(self.make_product(title="Dress"))
        assert url is None or url.startswith("/"), url
