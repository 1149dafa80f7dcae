"""What the settings leave out is guessed, and what can't be guessed is told with the option that decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import Q
from django.test.utils import isolate_apps, override_settings

from shopgen_django.catalogues import Catalogue, catalogue_aliases, catalogue_for_model, get_catalogue
from shopgen_django.catalogues.generic import GenericCatalogue
from shopgen_django.catalogues.shelves import FieldShelf, TableShelf
from shopgen_django.exceptions import PublishError
from tests.testshop.models import Category, Garment, GarmentPhoto, Product, Slugged

GENERIC = "shopgen_django.catalogues.generic.GenericCatalogue"


def catalogues(**aliases: Any) -> Any:
    return override_settings(SHOPGEN={"CATALOGUES": aliases})


# The registry


def test_naming_the_model_is_enough() -> None:
    with catalogues(default={"OPTIONS": {"MODEL": "testshop.Product"}}):
        catalogue = get_catalogue()
        assert type(catalogue) is GenericCatalogue
        assert catalogue.model is Product
        assert catalogue.check() == []
        assert get_catalogue() is catalogue, "built once"
    with catalogues(default={"ADAPTER": GENERIC, "OPTIONS": {"MODEL": "testshop.Garment"}}):
        assert get_catalogue().model is Garment, "forgotten when the settings change"


@isolate_apps("tests.testshop")
def test_a_model_finds_its_catalogue() -> None:
    both = {
        "default": {"OPTIONS": {"MODEL": "testshop.Product"}},
        "clothes": {"OPTIONS": {"MODEL": "testshop.Garment"}},
    }
    with catalogues(**both):
        assert catalogue_aliases() == ["default", "clothes"]
        found = catalogue_for_model(Garment)
        assert found is not None
        assert found.alias == "clothes"
        assert catalogue_for_model(Slugged) is None

        class Cheap(Product):
            class Meta:
                proxy = True
                app_label = "testshop"

        assert catalogue_for_model(Cheap) is get_catalogue("default")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"OPTIONS": {"MODEL": "testshop.Product", "TITEL": "name"}},
            r"no option TITEL\. Valid options: .*TITLE_FIELD",
        ),
        ({"ADAPTOR": GENERIC}, 'no key ADAPTOR. Valid keys: "ADAPTER", "OPTIONS"'),
        ({"ADAPTER": "nowhere.Catalogue"}, "No module named 'nowhere'"),
        ({"ADAPTER": "tests.testshop.models.Product"}, "must name a subclass of shopgen_django.catalogues.Catalogue"),
        ("testshop.Product", "must be a dict"),
        ({"OPTIONS": ["MODEL"]}, "must be a dict of the adapter's options"),
    ],
)
def test_a_wrong_entry_is_told_in_words(entry: Any, said: str) -> None:
    with catalogues(default=entry), pytest.raises(ImproperlyConfigured, match=said):
        get_catalogue()


def test_an_unknown_alias_says_what_to_set() -> None:
    with (
        catalogues(default={"OPTIONS": {"MODEL": "testshop.Product"}}),
        pytest.raises(ImproperlyConfigured, match=r"Configured: default.*MODEL"),
    ):
        get_catalogue("outlet")


@pytest.mark.parametrize(
    ("adapter", "package"),
    [("oscar.OscarCatalogue", "django-oscar"), ("wagtail.WagtailCatalogue", "wagtail")],
)
def test_an_adapter_whose_package_is_missing_names_the_extra(
    adapter: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = adapter.split(".")[0]
    for name in (extra, f"{extra}.core", f"{extra}.core.loading", f"{extra}.images"):
        monkeypatch.setitem(sys.modules, name, None)
    options = {"MODEL": "testshop.Product"} if extra == "wagtail" else {}
    with (
        catalogues(default={"ADAPTER": f"shopgen_django.catalogues.{adapter}", "OPTIONS": options}),
        pytest.raises(ImproperlyConfigured, match=rf"needs {package}.*pip install shopgen-django\[{extra}\]"),
    ):
        assert get_catalogue().model


def test_a_new_process_listens_to_the_products_and_to_nothing_else() -> None:
    code = (
        "import django; django.setup()\n"
        "from django.db.models.signals import post_delete, post_save\n"
        "from tests.testshop.models import Product, Garment\n"
        "print(*(post_delete.has_listeners(model) for model in (Product, Garment)), post_save.has_listeners(Product))"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, timeout=60, check=False)
    assert run.stdout.split() == ["True", "False", "False"], run.stderr[-2000:]


# Guesses


def test_the_guesses_for_the_three_shops() -> None:
    plain = GenericCatalogue("default", MODEL="testshop.Product")
    assert (plain.title.lookup, plain.category.lookup, plain.description.lookup) == (
        "name",
        "category__name",
        "description",
    )
    assert isinstance(plain.shelf(), FieldShelf)
    assert (plain.supports_main, plain.supports_gallery, plain.supports_alt_text) == (True, False, False)
    table = GenericCatalogue("default", MODEL="testshop.Garment").shelf()
    assert isinstance(table, TableShelf)
    assert (table.model, table.foreign_key, table.image) == (GarmentPhoto, "garment", "photo")
    assert (table.order, table.primary, table.alt) == ("position", None, "caption")
    assert GenericCatalogue("default", MODEL=Slugged).pictures.__self__.shelf().image == "picture"


@isolate_apps("tests.testshop")
def test_two_pictures_with_unusual_names_have_to_be_told_apart() -> None:
    class Tile(models.Model):
        name = models.CharField(max_length=10)
        front = models.ImageField()
        back = models.ImageField()

        class Meta:
            app_label = "testshop"

    (error,) = GenericCatalogue("default", MODEL=Tile).check()
    assert error.id == "shopgen.E105"
    assert "IMAGE_FIELD" in error.msg
    assert "front, back" in error.msg
    assert GenericCatalogue("default", MODEL=Tile, IMAGE_FIELD="front").check() == []


@isolate_apps("tests.testshop")
def test_a_usual_name_among_several_pictures_wins() -> None:
    class Tile(models.Model):
        name = models.CharField(max_length=10)
        image = models.ImageField()
        size_chart = models.ImageField()

        class Meta:
            app_label = "testshop"

    catalogue = GenericCatalogue("default", MODEL=Tile)
    assert catalogue.check() == []
    assert catalogue.shelf().image == "image"


@isolate_apps("tests.testshop")
def test_a_product_without_any_place_for_pictures() -> None:
    class Service(models.Model):
        name = models.CharField(max_length=10)

        class Meta:
            app_label = "testshop"

    (error,) = GenericCatalogue("default", MODEL=Service).check()
    assert "no ImageField" in error.msg
    assert "IMAGE_MODEL" in error.msg


@isolate_apps("tests.testshop")
def test_a_table_without_order_only_takes_a_gallery() -> None:
    class Chair(models.Model):
        name = models.CharField(max_length=10)

        class Meta:
            app_label = "testshop"

    class Shot(models.Model):
        chair = models.ForeignKey(Chair, models.CASCADE)
        image = models.ImageField()

        class Meta:
            app_label = "testshop"

    catalogue = GenericCatalogue("default", MODEL=Chair, IMAGE_MODEL=Shot)
    (warning,) = catalogue.check()
    assert (warning.id, catalogue.supports_main, catalogue.supports_gallery) == ("shopgen.W102", False, True)
    with pytest.raises(PublishError, match="Possible: gallery"):
        catalogue.require_placement("main")


@isolate_apps("tests.testshop")
def test_a_table_beside_the_products_own_picture_is_mentioned() -> None:
    class Chair(models.Model):
        name = models.CharField(max_length=10)
        image = models.ImageField()

        class Meta:
            app_label = "testshop"

    class Shot(models.Model):
        chair = models.ForeignKey(Chair, models.CASCADE)
        image = models.ImageField()
        position = models.IntegerField()

        class Meta:
            app_label = "testshop"

    (warning,) = GenericCatalogue("default", MODEL=Chair).check()
    assert warning.id == "shopgen.W103"
    assert GenericCatalogue("default", MODEL=Chair, IMAGE_FIELD="image").check() == []
    assert GenericCatalogue("default", MODEL=Chair, IMAGE_MODEL=Shot).check() == []


def test_django_cleanup_would_delete_what_has_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = GenericCatalogue("default", MODEL="testshop.Product", IMAGE_FIELD="image")
    assert catalogue.check() == []
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "django_cleanup")
    (warning,) = catalogue.check()
    assert (warning.id, "django_cleanup.cleanup.ignore" in str(warning.hint)) == ("shopgen.W104", True)


@isolate_apps("tests.testshop")
def test_a_composite_key_is_refused() -> None:
    class Part(models.Model):
        pk = models.CompositePrimaryKey("a", "b")
        a = models.IntegerField()
        b = models.IntegerField()
        name = models.CharField(max_length=10)
        image = models.ImageField()

        class Meta:
            app_label = "testshop"

    (error,) = GenericCatalogue("default", MODEL=Part).check()
    assert error.id == "shopgen.E102"


@pytest.mark.parametrize(
    ("options", "identity", "said"),
    [
        ({}, "shopgen.E101", "MODEL"),
        ({"MODEL": "testshop.Nothing"}, "shopgen.E101", 'must name a model as "app.Model"'),
        ({"MODEL": 7}, "shopgen.E101", 'must name a model as "app.Model"'),
        ({"MODEL": "testshop.Product", "TITLE_FIELD": "titel"}, "shopgen.E103", "no field or attribute “titel”"),
        ({"MODEL": "testshop.Product", "CATEGORY_FIELD": "category__nom"}, "shopgen.E103", "no field “nom”"),
        ({"MODEL": "testshop.Product", "CATEGORY_FIELD": "name__more"}, "shopgen.E103", "no relation"),
        ({"MODEL": "testshop.Product", "DESCRIPTION_FIELD": "no.such.thing"}, "shopgen.E103", "No module named 'no'"),
        ({"MODEL": "testshop.Product", "ACTIVE_FILTER": {"on_sale": True}}, "shopgen.E104", "on_sale"),
        ({"MODEL": "testshop.Product", "IMAGE_FIELD": "name"}, "shopgen.E105", "is a CharField, not a FileField"),
        ({"MODEL": "testshop.Product", "IMAGE_MODEL": "testshop.GarmentPhoto"}, "shopgen.E105", "IMAGE_FK"),
        ({"MODEL": "testshop.Garment", "IMAGE_MODEL": "testshop.Category"}, "shopgen.E105", "no ImageField"),
        ({"MODEL": "testshop.Product", "ALT_FIELD": "alt"}, "shopgen.E105", "no field “alt”"),
    ],
)
def test_every_wrong_option_is_a_check(options: dict[str, Any], identity: str, said: str) -> None:
    messages = GenericCatalogue("default", **options).check()
    assert [message.id for message in messages] == [identity], messages
    assert said in messages[0].msg
    assert "default" in messages[0].obj


# Options at work


@pytest.mark.django_db
def test_what_is_on_offer_can_be_a_dict_a_condition_or_a_function() -> None:
    for name in ("Dress", "Secret dress"):
        Product.objects.create(name=name)
    filters: list[Any] = [
        {"name": "Dress"},
        ~Q(name__startswith="Secret"),
        lambda rows: rows.exclude(name__startswith="Secret"),
        "tests.catalogues.test_options.without_secrets",
    ]
    for active in filters:
        catalogue = GenericCatalogue("default", MODEL="testshop.Product", ACTIVE_FILTER=active)
        assert catalogue.check() == []
        assert [one.title for one in catalogue.products()] == ["Dress"]
        secret = Product.objects.get(name="Secret dress")
        assert catalogue.get(str(secret.pk)).title == "Secret dress", "a product off offer can still be got"


def without_secrets(rows: Any) -> Any:
    return rows.exclude(name__startswith="Secret")


def shouted(product: Product) -> str:
    return product.name.upper()


@pytest.mark.django_db
def test_title_and_category_can_come_from_functions() -> None:
    catalogue = GenericCatalogue(
        "default",
        MODEL="testshop.Product",
        TITLE_FIELD="tests.catalogues.test_options.shouted",
        CATEGORY_FIELD=lambda product: "long" if len(product.name) > 4 else "short",
    )
    assert catalogue.check() == []
    Product.objects.create(name="Dress")
    Product.objects.create(name="Hat")
    assert [one.title for one in catalogue.products()] == ["DRESS", "HAT"]
    assert catalogue.categories() == ["long", "short"]
    assert [one.title for one in catalogue.products(category="short")] == ["HAT"]
    assert [one.title for one in catalogue.products(search="ress")] == ["DRESS"]


@pytest.mark.django_db
def test_false_switches_a_wrong_guess_off() -> None:
    catalogue = GenericCatalogue("default", MODEL="testshop.Product", CATEGORY_FIELD=False)
    Product.objects.create(name="Dress", category=Category.objects.create(name="Dresses"))
    assert catalogue.categories() == []
    assert next(catalogue.products()).category == ""
    table = GenericCatalogue("default", MODEL="testshop.Garment", ALT_FIELD=False)
    assert table.supports_alt_text is False


@pytest.mark.django_db
def test_thousands_of_keys_are_asked_for_in_portions(django_assert_num_queries: Any) -> None:
    made = Product.objects.bulk_create(Product(name=f"P{number}") for number in range(1200))
    catalogue = GenericCatalogue("default", MODEL="testshop.Product")
    with django_assert_num_queries(3):
        found = [one.pk for one in catalogue.products(pks=[str(one.pk) for one in made])]
    assert found == [str(one.pk) for one in made]


def test_the_interface_can_not_be_used_bare() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Catalogue("default")  # type: ignore[abstract]
