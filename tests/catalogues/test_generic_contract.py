"""The contract holds for every shape of plain shop."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.files.base import ContentFile
from django.db import models
from django.test import TestCase

from shopgen_django.catalogues.generic import GenericCatalogue
from shopgen_django.catalogues.testing import CatalogueContract
from tests.testshop.models import Category, Garment, GarmentPhoto, Product, Slugged


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
