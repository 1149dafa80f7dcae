"""The adapter for django-oscar: products with variants, pictures in ``ProductImage``.

Models come through Oscar's own loader, so a forked catalogue app is found. A variant (child) without pictures of its
own shows its parent's, as Oscar does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, BinaryIO, ClassVar

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.db import models
from django.db.models import Q
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from shopgen_django.exceptions import PublishError

from .base import Picture, Placement, Receipt
from .modelled import ModelCatalogue
from .reading import Value
from .shelves import TableShelf
from .texts import FieldText, TextPlace


class OscarCatalogue(ModelCatalogue):
    """An Oscar shop; no option is needed.

    ``ACTIVE_FILTER`` says what is on offer (by default public products), ``VARIANTS`` whether child products are
    listed beside their parents. A picture's caption is its text alternative. The category is the name of the
    product's first public category in the tree; asked for a category, products in any of theirs are found.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {"ACTIVE_FILTER": None, "VARIANTS": False}
    supports_gallery = True
    supports_alt_text = True

    @cached_property
    def model(self) -> type[models.Model]:
        return self._load("Product")

    def _load(self, name: str) -> type[models.Model]:
        try:
            from oscar.core.loading import get_model
        except ImportError as error:
            raise ImproperlyConfigured(
                "OscarCatalogue needs django-oscar, which is not installed: pip install shopgen-django[oscar]"
            ) from error
        try:
            return get_model("catalogue", name)
        except LookupError as error:
            raise ImproperlyConfigured(
                f"OscarCatalogue finds no catalogue.{name}: add Oscar's apps (or your fork of its catalogue app) to "
                "INSTALLED_APPS."
            ) from error

    @cached_property
    def title(self) -> Value:
        return Value(self.model, lambda product: product.get_title(), "title")

    @cached_property
    def category(self) -> Value:
        return Value(self.model, _first_category, "category")

    @cached_property
    def description(self) -> Value:
        return Value(self.model, _description, "description")

    @cached_property
    def text_places(self) -> dict[str, TextPlace]:
        # Oscar's pages show the description as HTML, whatever the class of its field is called.
        return {"title": FieldText(self.model, "title"), "description": FieldText(self.model, "description", html=True)}

    def rows(self) -> models.QuerySet[Any]:
        rows = self.model._default_manager.select_related("parent")
        return rows.prefetch_related("categories", "parent__categories")

    def active(self) -> models.QuerySet[Any]:
        rows = super().active()
        if self.options["ACTIVE_FILTER"] is None:
            rows = rows.filter(Q(parent=None) | Q(parent__is_public=True), is_public=True)
        return rows if self.options["VARIANTS"] else rows.filter(parent=None)

    def category_query(self, category: str) -> Q:
        public = {"is_public": True, "ancestors_are_public": True, "name": category}
        own = Q(**{f"categories__{name}": value for name, value in public.items()})
        return own | Q(**{f"parent__categories__{name}": value for name, value in public.items()})

    def search_query(self, text: str) -> Q:
        return Q(title__icontains=text) | Q(title="", parent__title__icontains=text)

    def categories(self) -> list[str]:
        names: set[str] = set()
        for path in ("categories", "parent__categories"):
            public = {f"{path}__is_public": True, f"{path}__ancestors_are_public": True}
            rows = self.active().filter(**public).prefetch_related(None).order_by()
            names.update(rows.values_list(f"{path}__name", flat=True).distinct())
        return sorted(name for name in names if name)

    def shelf(self) -> TableShelf:
        return self._shelf

    @cached_property
    def _shelf(self) -> TableShelf:
        return TableShelf(
            self._load("ProductImage"),
            foreign_key="product",
            image="original",
            order="display_order",
            primary=None,
            alt="caption",
            database=self.database,
        )

    def pictures(self, pk: str) -> list[Picture]:
        product = self.row(pk)
        own = self._shelf.pictures(product)
        if own or not self._shows_parents(product):
            return own
        return [
            Picture(key=one.key, alt_text=one.alt_text, position=one.position, name=one.name, inherited=True)
            for one in self._shelf.pictures(product.parent)
        ]

    def open_picture(self, pk: str, key: str) -> BinaryIO:
        product = self.row(pk)
        holder = product.parent if self._shows_parents(product) else product
        return self._shelf.open(holder, key)

    def _shows_parents(self, product: Any) -> bool:
        return bool(product.is_child and product.parent_id and not self._shelf.rows(product))

    def publish(self, pk: str, *, content: File[bytes], filename: str, alt_text: str, placement: Placement) -> Receipt:
        self.require_placement(placement)
        product = self.locked(pk)
        if placement == "gallery" and self._shows_parents(product) and self._shelf.rows(product.parent):
            raise PublishError(
                _(
                    "This variant shows its parent's pictures; one of its own in the gallery would hide them all. "
                    "Publish it as the main picture, or to the parent."
                )
            )
        return self._shelf.publish(product, content=content, filename=filename, alt_text=alt_text, placement=placement)

    def admin_change_url(self, pk: str) -> str | None:
        """The product's page in Oscar's dashboard; in the Django admin when the dashboard is not installed."""
        try:
            return reverse("dashboard:catalogue-product", args=[pk])
        except NoReverseMatch:
            return super().admin_change_url(pk)

    def check(self) -> list[CheckMessage]:
        where = f'SHOPGEN["CATALOGUES"]["{self.alias}"]'
        try:
            table = self._load("ProductImage")
            assert self.model
        except ImproperlyConfigured as error:
            return [Error(str(error), id="shopgen.E101", obj=where)]
        names = {field.name for field in table._meta.get_fields()}
        lost = sorted({"product", "original", "caption", "display_order"} - names)
        if lost:
            text = f"Your fork of Oscar's ProductImage has no field {', '.join(lost)}."
            return [Error(text, hint="Subclass OscarCatalogue, or use GenericCatalogue.", id="shopgen.E106", obj=where)]
        return self._check_filter(where)


def _first_category(product: Any) -> str:
    """The first public category in the tree's order, read from what was fetched along; a child has its parent's."""
    holder = product.parent if product.is_child and product.parent_id else product
    public = [one for one in holder.categories.all() if one.is_public and one.ancestors_are_public]
    return min(public, key=lambda one: one.path).name if public else ""


def _description(product: Any) -> str:
    text = product.description
    return product.parent.description if not text and product.is_child and product.parent_id else text
