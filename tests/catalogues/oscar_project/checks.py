"""Tests inside the Oscar shop. The name keeps the main suite, which has other settings, from collecting them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.test import Client, TestCase
from oscar.core.loading import get_model
from oscar.test.factories import CategoryFactory, ProductClassFactory, create_product
from PIL import Image, ImageColor

from shopgen_django.catalogues import WithdrawOutcome, catalogue_for_model, get_catalogue
from shopgen_django.catalogues.oscar import OscarCatalogue
from shopgen_django.catalogues.testing import CatalogueContract, png
from shopgen_django.exceptions import PublishError
from shopgen_django.services.publishing import publish_image, withdraw_image
from tests.factories import make_image

Product = get_model("catalogue", "Product")
ProductImage = get_model("catalogue", "ProductImage")
Category = get_model("catalogue", "Category")


def category_named(name: str, **fields: Any) -> Any:
    return Category.objects.filter(name=name).first() or Category.add_root(name=name, **fields)


def product_named(title: str, *, category: str = "", picture: bytes | None = None, **fields: Any) -> Any:
    product = create_product(title=title, **fields)
    if category:
        product.categories.add(category_named(category))
    if picture is not None:
        add_picture(product, picture)
    return product


def add_picture(product: Any, content: bytes, order: int = 0) -> Any:
    row = ProductImage(product=product, display_order=order)
    row.original.save("photo.png", ContentFile(content), save=False)
    row.save()
    return row


class TestOscar(CatalogueContract, TestCase):
    def make_catalogue(self) -> OscarCatalogue:
        return OscarCatalogue("default")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        return str(product_named(title, category=category, picture=picture).pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        product = Product.objects.get(pk=pk)
        for row in product.images.order_by("-display_order"):
            row.display_order += 1
            row.save()
        add_picture(product, content)


@pytest.fixture
def family(db: None) -> tuple[Any, Any]:
    """A parent with a picture and a category, and a variant without either."""
    product_class = ProductClassFactory()
    parent = create_product(title="Shirt", structure="parent", product_class=product_class.name)
    parent.categories.add(category_named("Shirts"))
    add_picture(parent, png("navy"))
    child = create_product(structure="child", parent=parent, title="", product_class=product_class.name)
    return parent, child


def read(pk: Any) -> list[bytes]:
    catalogue = get_catalogue()
    found = []
    for picture in catalogue.pictures(str(pk)):
        with catalogue.open_picture(str(pk), picture.key) as handle:
            found.append(handle.read())
    return found


def put(pk: Any, colour: str, placement: str = "main") -> Any:
    content = ContentFile(png(colour))
    return get_catalogue().publish(str(pk), content=content, filename="a.png", alt_text="A", placement=placement)


def test_a_variant_has_its_parents_title_category_and_pictures(family: tuple[Any, Any]) -> None:
    _parent, child = family
    catalogue = get_catalogue()
    product = catalogue.get(str(child.pk))
    assert (product.title, product.category) == ("Shirt", "Shirts")
    assert [picture.inherited for picture in catalogue.pictures(str(child.pk))] == [True]
    assert read(child.pk) == [png("navy")]


def test_variants_are_listed_only_when_asked_for(family: tuple[Any, Any]) -> None:
    parent, child = family
    assert [one.pk for one in get_catalogue().products()] == [str(parent.pk)]
    with_variants = OscarCatalogue("default", VARIANTS=True)
    assert [one.pk for one in with_variants.products(category="Shirts")] == [str(parent.pk), str(child.pk)]
    assert [one.pk for one in with_variants.products(search="SHIRT")] == [str(parent.pk), str(child.pk)]
    assert with_variants.categories() == ["Shirts"]


def test_a_variant_can_get_a_main_picture_of_its_own_and_lose_it_again(family: tuple[Any, Any]) -> None:
    parent, child = family
    receipt = put(child.pk, "gold")
    assert (read(child.pk), read(parent.pk)) == ([png("gold")], [png("navy")])
    assert child.primary_image().original.name == receipt["placed"]["file"]
    assert get_catalogue().withdraw(str(child.pk), receipt) == WithdrawOutcome.RESTORED
    assert read(child.pk) == [png("navy")]


def test_a_gallery_picture_that_would_hide_the_parents_is_refused(family: tuple[Any, Any]) -> None:
    _parent, child = family
    with pytest.raises(PublishError, match="parent's pictures"):
        put(child.pk, "gold", "gallery")
    assert read(child.pk) == [png("navy")]


@pytest.mark.django_db
def test_hidden_products_and_categories_are_not_on_offer() -> None:
    shown = product_named("Shown", category="Shirts")
    hidden = product_named("Hidden", category="Hats")
    hidden.is_public = False
    hidden.save()
    secret = CategoryFactory(name="Secret", is_public=False)
    shown.categories.add(secret)
    catalogue = get_catalogue()
    assert [one.title for one in catalogue.products()] == ["Shown"]
    assert catalogue.categories() == ["Shirts"]
    assert list(catalogue.products(category="Secret")) == []
    assert catalogue.get(str(hidden.pk)).title == "Hidden"


@pytest.mark.django_db
def test_oscars_own_numbering_after_a_deletion_is_not_disturbed() -> None:
    product = product_named("Shirt", picture=png("navy"))
    add_picture(product, png("red"), order=1)
    add_picture(product, png("green"), order=2)
    receipt = put(product.pk, "gold")
    assert list(product.images.values_list("display_order", flat=True)) == [0, 1, 2, 3]
    get_catalogue().withdraw(str(product.pk), receipt)
    assert list(product.images.values_list("display_order", flat=True)) == [0, 1, 2]
    assert read(product.pk) == [png("navy"), png("red"), png("green")]


@pytest.mark.django_db(transaction=True)
def test_the_shop_front_shows_the_published_picture_until_it_is_withdrawn() -> None:
    product = product_named("Shirt", category="Shirts", picture=png("navy"))
    assert catalogue_for_model(Product) is get_catalogue()
    image = make_image(
        "approved",
        content=png("gold"),
        catalogue="default",
        object_pk=str(product.pk),
        product_label="Shirt",
        alt_text="A golden shirt",
    )
    page = product.get_absolute_url()
    assert shown_colours(page) == {"navy"}
    publication = publish_image(image=image, user=None)
    assert publication.receipt["placed"]["file"] == product.primary_image().original.name
    assert product.primary_image().caption == "A golden shirt"
    assert shown_colours(page) == {"gold", "navy"}
    withdrawn = withdraw_image(image=image, user=None)
    assert withdrawn.withdraw_outcome == WithdrawOutcome.RESTORED
    assert read(product.pk) == [png("navy")]
    assert shown_colours(page) == {"navy"}


def shown_colours(page: str) -> set[str]:
    """The colours of the pictures (thumbnails made by the shop) that the product's page shows a shopper."""
    response = Client().get(page)
    assert response.status_code == 200
    found = set()
    for name in re.findall(r'src="/media/([^"]+)"', response.content.decode()):
        with Image.open(Path(settings.MEDIA_ROOT) / name) as picture:
            pixel = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
        distances = {colour: math.dist(pixel, ImageColor.getrgb(colour)) for colour in ("navy", "gold", "white")}
        found.add(min(distances, key=lambda colour: distances[colour]))
    return found


@pytest.mark.django_db(transaction=True)
def test_a_deleted_product_leaves_a_tombstone() -> None:
    product = product_named("Shirt", picture=png("navy"))
    image = make_image("approved", catalogue="default", object_pk=str(product.pk), product_label="Shirt")
    publish_image(image=image, user=None)
    product.delete()
    image.refresh_from_db()
    assert image.product_deleted_at is not None
    assert withdraw_image(image=image, user=None).withdraw_outcome == WithdrawOutcome.PRODUCT_GONE


def test_the_address_is_the_dashboards() -> None:
    url = get_catalogue().admin_change_url("7")
    assert url == "/dashboard/catalogue/products/7/"
