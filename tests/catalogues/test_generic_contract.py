"""The contract holds for every shape of plain shop."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.files.base import ContentFile
from django.db import models
from django.test import TestCase

from shopgen_django.catalogues import WithdrawOutcome
from shopgen_django.catalogues.generic import GenericCatalogue
from shopgen_django.catalogues.testing import CatalogueContract, png
from tests.testshop.models import Category, Garment, GarmentPhoto, Lamp, LampPhoto, Product, Slugged


class PlainShop(CatalogueContract):
    """Integer key, picture on the product, category in another table."""

    options: ClassVar[dict[str, Any]] = {"MODEL": "testshop.Product"}
    adapter: type[GenericCatalogue] = GenericCatalogue

    def make_catalogue(self) -> GenericCatalogue:
        return self.adapter("default", **self.options)

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        found = Category.objects.get_or_create(name=category)[0] if category else None
        product = Product.objects.create(name=title, category=found)
        if picture is not None:
            product.image.save("photo.png", ContentFile(picture))
        return str(product.pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        Product.objects.get(pk=pk).image.save("by-hand.png", ContentFile(content))


class TestPlainShop(PlainShop, TestCase):
    pass


class TestTableOfPictures(CatalogueContract, TestCase):
    """UUID key, pictures in a table with order and caption."""

    def make_catalogue(self) -> GenericCatalogue:
        return GenericCatalogue("default", MODEL="testshop.Garment")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        garment = Garment.objects.create(title=title, kind=category)
        if picture is not None:
            row = GarmentPhoto(garment=garment, position=0)
            row.photo.save("photo.png", ContentFile(picture))
        return str(garment.pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        GarmentPhoto.objects.filter(garment_id=pk).update(position=models.F("position") + 1)
        row = GarmentPhoto(garment_id=pk, position=0)
        row.photo.save("by-hand.png", ContentFile(content))


class TestMarkedMainPicture(CatalogueContract, TestCase):
    """A mark for the main picture, a unique order, measured sizes, several categories."""

    def make_catalogue(self) -> GenericCatalogue:
        return GenericCatalogue("default", MODEL="testshop.Lamp", CATEGORY_FIELD="tags__name")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        lamp = Lamp.objects.create(name=title)
        if category:
            lamp.tags.add(Category.objects.get_or_create(name=category)[0])
        if picture is not None:
            self.add(lamp, picture, sort_order=10)
        return str(lamp.pk)

    def add(self, lamp: Lamp, content: bytes, *, sort_order: int) -> None:
        row = LampPhoto(lamp=lamp, sort_order=sort_order, is_primary=True)
        row.image.save("photo.png", ContentFile(content, name="photo.png"))

    def person_replaces(self, pk: str, content: bytes) -> None:
        LampPhoto.objects.filter(lamp_id=pk).update(is_primary=False)
        self.add(Lamp.objects.get(pk=pk), content, sort_order=99)

    def test_the_mark_moves_and_comes_back(self) -> None:
        pk = self.make_product(title="Lamp", picture=png("navy"))
        old = LampPhoto.objects.get()
        receipt = self._publish(pk, png("gold"))
        new = LampPhoto.objects.exclude(pk=old.pk).get()
        old.refresh_from_db()
        assert (new.is_primary, new.sort_order, old.is_primary, old.sort_order) == (True, 10, False, 11)
        assert (new.width, new.height) == (64, 48)
        assert receipt["unmarked"] == [str(old.pk)]
        self._withdraw(pk, receipt)
        old.refresh_from_db()
        assert (old.is_primary, old.sort_order) == (True, 10)

    def test_a_mark_that_a_person_has_moved_stays(self) -> None:
        pk = self.make_product(title="Lamp", picture=png("navy"))
        receipt = self._publish(pk, png("gold"))
        LampPhoto.objects.update(is_primary=False)
        old = LampPhoto.objects.order_by("sort_order").last()
        assert old is not None
        LampPhoto.objects.filter(pk=old.pk).update(is_primary=True)
        assert self._withdraw(pk, receipt) == WithdrawOutcome.KEPT_NEWER
        assert self._contents(pk) == [png("navy")]

    def test_a_product_of_several_categories_is_found_once_under_each(self) -> None:
        pk = self.make_product(title="Lamp", category="Desk")
        Lamp.objects.get(pk=pk).tags.add(Category.objects.create(name="Sale"))
        catalogue = self.make_catalogue()
        assert catalogue.categories() == ["Desk", "Sale"]
        for name in ("Desk", "Sale"):
            assert [(one.pk, one.category) for one in catalogue.products(category=name)] == [(pk, name)]
        assert len(list(catalogue.products())) == 1


class TestTextKey(CatalogueContract, TestCase):
    """A text key with characters that addresses escape, a nullable picture, no category."""

    has_categories = False

    def make_catalogue(self) -> GenericCatalogue:
        return GenericCatalogue("default", MODEL="testshop.Slugged")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        key = f"SKU/{Slugged.objects.count()} é?"
        product = Slugged.objects.create(sku=key, name=title)
        if picture is not None:
            product.picture.save("photo.png", ContentFile(picture))
        return key

    def person_replaces(self, pk: str, content: bytes) -> None:
        Slugged.objects.get(pk=pk).picture.save("by-hand.png", ContentFile(content))
