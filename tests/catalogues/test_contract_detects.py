"""The contract test-suite is itself tested: each adapter here breaks one promise, and the named test has to fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from shopgen_django.catalogues import WithdrawOutcome
from shopgen_django.catalogues.generic import GenericCatalogue
from shopgen_django.exceptions import ProductNotFound
from tests.testshop.models import GarmentPhoto, Product

from .test_generic_contract import PlainShop, TestTableOfPictures


class ListsProducts(GenericCatalogue):
    def products(self, **filters: Any) -> Any:
        return list(super().products(**filters))


class QueriesPerProduct(GenericCatalogue):
    def products(self, **filters: Any) -> Iterator[Any]:
        for product in super().products(**filters):
            yield self.get(product.pk)


class RepeatsProducts(GenericCatalogue):
    def products(self, **filters: Any) -> Iterator[Any]:
        for product in super().products(**filters):
            yield product
            yield product


class IgnoresKeys(GenericCatalogue):
    def products(self, *, pks: Any = None, **filters: Any) -> Iterator[Any]:
        return super().products(**filters)


class EmptyKeysMeanAll(GenericCatalogue):
    def products(self, *, pks: Any = None, **filters: Any) -> Iterator[Any]:
        return super().products(pks=pks or None, **filters)


class SearchesExactCase(GenericCatalogue):
    def products(self, *, search: str | None = None, **filters: Any) -> Iterator[Any]:
        return (one for one in super().products(**filters) if search is None or search in one.title)


class IgnoresCategory(GenericCatalogue):
    def products(self, *, category: str | None = None, **filters: Any) -> Iterator[Any]:
        return super().products(**filters)


class RepeatsCategories(GenericCatalogue):
    def categories(self) -> list[str]:
        return [product.category for product in self.products()]


class LetsDjangoRaise(GenericCatalogue):
    def get(self, pk: str) -> Any:
        return self.to_product(Product.objects.get(pk=pk))


class OpensAnything(GenericCatalogue):
    def open_picture(self, pk: str, key: str) -> Any:
        pictures = self.pictures(pk)
        return super().open_picture(pk, pictures[0].key)


class RemovesTheOldFile(GenericCatalogue):
    def publish(self, pk: str, **arguments: Any) -> Any:
        file = self.row(pk).image
        receipt = super().publish(pk, **arguments)
        if file:
            file.storage.delete(file.name)
        return receipt


class Overwrites(GenericCatalogue):
    def publish(self, pk: str, *, content: Any, filename: str, **arguments: Any) -> Any:
        storage = Product._meta.get_field("image").storage
        storage.delete(f"products/{filename}")
        return super().publish(pk, content=content, filename=filename, **arguments)


class LeavesTheFileOfAFailure(GenericCatalogue):
    def publish(self, pk: str, *, content: Any, **arguments: Any) -> Any:
        try:
            return super().publish(pk, content=content, **arguments)
        except ProductNotFound:
            raise
        except Exception:
            Product._meta.get_field("image").storage.save("products/left.png", content)
            raise


class StoresBeforeItLooks(GenericCatalogue):
    def publish(self, pk: str, *, content: Any, **arguments: Any) -> Any:
        name = Product._meta.get_field("image").storage.save("products/early.png", content)
        receipt = super().publish(pk, content=content, **arguments)
        Product._meta.get_field("image").storage.delete(name)
        return receipt


class TakesEveryPlacement(GenericCatalogue):
    def require_placement(self, placement: str) -> None:
        return


class KeepsDates(GenericCatalogue):
    def publish(self, pk: str, **arguments: Any) -> Any:
        return {**super().publish(pk, **arguments), "at": datetime(2026, 1, 1)}


class KeepsTuples(GenericCatalogue):
    def publish(self, pk: str, **arguments: Any) -> Any:
        return {**super().publish(pk, **arguments), "columns": ("image",)}


class DiscardsNothing(GenericCatalogue):
    def discard(self, receipt: Any) -> None:
        return


class EmptiesOnWithdrawal(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        receipt["previous"] = {"file": "", "alt_text": None}
        return super().withdraw(pk, receipt)


class KeepsTheCopy(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        name = self.row(pk).image.name
        outcome = super().withdraw(pk, receipt)
        Product.objects.create(name="holds the file", image=name)
        return outcome


class RestoresOverPeople(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        Product.objects.filter(pk=pk).update(image=receipt["placed"]["file"])
        return super().withdraw(pk, receipt)


class NeedsTheProduct(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        self.get(pk)
        return super().withdraw(pk, receipt)


class SaysNothingOfTheOutcome(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        super().withdraw(pk, receipt)


class ForgetsToRebase(GenericCatalogue):
    def rebase(self, receipt: Any, withdrawn: Any) -> None:
        return None


class ShortensNoText(GenericCatalogue):
    def publish(self, pk: str, *, alt_text: str, **arguments: Any) -> Any:
        if len(alt_text) > 200:
            raise ValueError("too long")
        return super().publish(pk, alt_text=alt_text, **arguments)


class EatsMarkup(GenericCatalogue):
    def write_text(self, pk: str, kind: str, text: str, key: str = "") -> Any:
        return super().write_text(pk, kind, text.replace("<b>", "").replace("</b>", ""), key)


class RestoresOverOthers(GenericCatalogue):
    def restore_text(self, pk: str, receipt: Any) -> Any:
        self.write_text(pk, receipt["kind"], receipt["previous"] or "-", receipt["key"])
        return WithdrawOutcome.RESTORED


class TakesAnyKind(GenericCatalogue):
    def write_text(self, pk: str, kind: str, text: str, key: str = "") -> Any:
        return super().write_text(pk, "title", text, key)


class CutsTitles(GenericCatalogue):
    def write_text(self, pk: str, kind: str, text: str, key: str = "") -> Any:
        return super().write_text(pk, kind, text[:200], key)


PLAIN = [
    (EatsMarkup, "texts_can_be_written_read_and_taken_back"),
    (RestoresOverOthers, "a_newer_text_of_a_person_is_left_alone"),
    (TakesAnyKind, "texts_need_a_product_and_a_place"),
    (CutsTitles, "a_title_that_does_not_fit_is_refused_and_nothing_changes"),
    (ListsProducts, "products_are_streamed_each_once_in_a_stable_order"),
    (RepeatsProducts, "products_are_streamed_each_once_in_a_stable_order"),
    (QueriesPerProduct, "products_take_the_same_number_of_queries_for_three_as_for_twelve"),
    (IgnoresKeys, "products_can_be_chosen_by_key"),
    (EmptyKeysMeanAll, "products_can_be_chosen_by_key"),
    (SearchesExactCase, "products_can_be_searched_in_any_letter_case"),
    (IgnoresCategory, "categories_are_sorted_and_choose_products"),
    (RepeatsCategories, "categories_are_sorted_and_choose_products"),
    (LetsDjangoRaise, "get_gives_the_product_or_says_that_there_is_none"),
    (OpensAnything, "pictures_can_be_listed_and_opened"),
    (RemovesTheOldFile, "publishing_leaves_every_file_that_was_there"),
    (RemovesTheOldFile, "withdrawing_brings_back_what_stood_there"),
    (Overwrites, "one_file_name_twice_makes_two_files"),
    (LeavesTheFileOfAFailure, "when_the_shops_save_fails_nothing_is_left_behind"),
    (StoresBeforeItLooks, "a_product_that_does_not_exist_takes_no_picture"),
    (TakesEveryPlacement, "a_placement_that_the_shop_lacks_is_refused"),
    (KeepsDates, "publishing_makes_the_picture_the_main_one"),
    (KeepsTuples, "publishing_makes_the_picture_the_main_one"),
    (DiscardsNothing, "discard_removes_the_file_of_a_publication_that_was_rolled_back"),
    (EmptiesOnWithdrawal, "withdrawing_brings_back_what_stood_there"),
    (KeepsTheCopy, "withdrawing_brings_back_what_stood_there"),
    (RestoresOverPeople, "a_newer_picture_of_a_person_is_left_alone"),
    (NeedsTheProduct, "a_deleted_product_is_an_outcome_of_withdrawing"),
    (SaysNothingOfTheOutcome, "withdrawing_brings_back_what_stood_there"),
    (ForgetsToRebase, "two_publications_can_be_withdrawn_in_either_order"),
    (ShortensNoText, "an_overlong_text_alternative_is_no_error"),
]


class LosesTheText(GenericCatalogue):
    def publish(self, pk: str, *, alt_text: str, **arguments: Any) -> Any:
        return super().publish(pk, alt_text="", **arguments)


class GalleryGoesFirst(GenericCatalogue):
    def publish(self, pk: str, *, placement: str, **arguments: Any) -> Any:
        return super().publish(pk, placement="main", **arguments)


class MainGoesLast(GenericCatalogue):
    def publish(self, pk: str, *, placement: str, **arguments: Any) -> Any:
        return super().publish(pk, placement="gallery", **arguments)


class MixesUpTheOrder(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        outcome = super().withdraw(pk, receipt)
        last = GarmentPhoto.objects.filter(garment_id=pk).order_by("-position").first()
        if last:
            GarmentPhoto.objects.filter(garment_id=pk).update(position=7)
            GarmentPhoto.objects.filter(pk=last.pk).update(position=0)
        return outcome


class RemovesTheOthers(GenericCatalogue):
    def publish(self, pk: str, **arguments: Any) -> Any:
        GarmentPhoto.objects.filter(garment_id=pk).delete()
        return super().publish(pk, **arguments)


class LeavesTheRow(GenericCatalogue):
    def withdraw(self, pk: str, receipt: Any) -> Any:
        return WithdrawOutcome.RESTORED


TABLE = [
    (LosesTheText, "publishing_makes_the_picture_the_main_one"),
    (GalleryGoesFirst, "a_gallery_picture_comes_last_and_can_be_taken_back"),
    (MainGoesLast, "publishing_makes_the_picture_the_main_one"),
    (MixesUpTheOrder, "the_main_picture_goes_before_a_gallery_whose_order_comes_back"),
    (RemovesTheOthers, "a_gallery_picture_comes_last_and_can_be_taken_back"),
    (LeavesTheRow, "withdrawing_brings_back_what_stood_there"),
]


def run(contract: Any, name: str) -> None:
    """One contract test, whose rows are rolled back."""
    with transaction.atomic():
        try:
            getattr(contract, f"test_{name}")()
        finally:
            transaction.set_rollback(True)
    assert connection.is_usable()


@pytest.mark.django_db
@pytest.mark.parametrize(("adapter", "name"), PLAIN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_promise_is_found(adapter: type[GenericCatalogue], name: str) -> None:
    contract = PlainShop()
    run(contract, name)  # the whole one passes, so it is the breakage that fails
    contract.adapter = adapter
    with pytest.raises((AssertionError, ProductNotFound, Product.DoesNotExist, TypeError, ValueError)):
        run(contract, name)


@pytest.mark.django_db
@pytest.mark.parametrize(("adapter", "name"), TABLE, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_promise_of_a_gallery_is_found(adapter: type[GenericCatalogue], name: str) -> None:
    class Contract(TestTableOfPictures):
        __test__ = False

        def make_catalogue(self) -> GenericCatalogue:
            return adapter("default", MODEL="testshop.Garment")

    with pytest.raises(AssertionError):
        run(Contract(), name)


@pytest.mark.django_db
def test_every_test_of_the_contract_but_the_simple_ones_has_a_breakage() -> None:
    tested = {name for _adapter, name in PLAIN + TABLE}
    names = {name.removeprefix("test_") for name in dir(PlainShop) if name.startswith("test_")}
    assert names - tested == {"checks_find_no_error", "the_admin_address_is_an_address_or_nothing"}
