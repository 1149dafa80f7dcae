"""Reading products from a Django model: shared by the adapters whose shop lies in the same database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, BinaryIO, ClassVar

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import (
    EmptyResultSet,
    FieldDoesNotExist,
    FieldError,
    ImproperlyConfigured,
    ObjectDoesNotExist,
)
from django.core.files.base import File
from django.db import models
from django.db.models import Q
from django.utils.module_loading import import_string

from shopgen_django.exceptions import FileMissing, ProductNotFound

from . import guessing
from .base import Catalogue, Picture, Placement, Product, Receipt, WithdrawOutcome
from .reading import Value
from .shelves import Shelf
from .texts import FieldText, ListText, RelatedTags, TextPlace, text_field

CHUNK = 500
"""Rows fetched at a time, and keys per query: far below every database's limit of query parameters."""


class ModelCatalogue(Catalogue):
    """A catalogue over one Django model. A subclass says on which :class:`Shelf` a product's pictures stand."""

    OPTIONS: ClassVar[Mapping[str, Any]] = {
        "MODEL": None,
        "TITLE_FIELD": None,
        "CATEGORY_FIELD": None,
        "DESCRIPTION_FIELD": None,
        "TAGS_FIELD": None,
        "ACTIVE_FILTER": None,
    }

    # Options

    def where(self, option: str) -> str:
        """How a message names an option of this catalogue."""
        return f'SHOPGEN["CATALOGUES"]["{self.alias}"]["OPTIONS"]["{option}"]'

    def resolve_model(self, option: str) -> type[models.Model]:
        """The model that an option names as "app.Model"."""
        name = self.options[option]
        if isinstance(name, type) and issubclass(name, models.Model):
            return name
        try:
            return apps.get_model(name)
        except (LookupError, ValueError, AttributeError) as error:
            raise ImproperlyConfigured(
                f'{self.where(option)} must name a model as "app.Model", not {name!r}: {error}'
            ) from error

    @cached_property
    def model(self) -> type[models.Model]:
        """The product model."""
        if not self.options["MODEL"]:
            raise ImproperlyConfigured(
                f'{self.where("MODEL")} is missing: name the product model, as in "shop.Product".'
            )
        return self.resolve_model("MODEL")

    @cached_property
    def title(self) -> Value:
        """Where a product's title comes from; the row's own text when nothing looks like a title."""
        source = self.options["TITLE_FIELD"] or guessing.title_field(self.model) or str
        return Value(self.model, source, self.where("TITLE_FIELD"))

    @cached_property
    def category(self) -> Value:
        """Where a product's category comes from; empty for a shop without categories."""
        source = self.options["CATEGORY_FIELD"]
        if source is None:
            source = guessing.category_field(self.model)
        return Value(self.model, source, self.where("CATEGORY_FIELD"))

    @cached_property
    def description(self) -> Value:
        """Where a product's description comes from; may be empty."""
        source = self.options["DESCRIPTION_FIELD"]
        if source is None:
            kinds = (models.CharField, models.TextField)
            source = guessing.named(self.model, guessing.DESCRIPTIONS, kinds)
        return Value(self.model, source, self.where("DESCRIPTION_FIELD"))

    # Texts

    @cached_property
    def text_places(self) -> dict[str, TextPlace]:
        """Where texts stand that can be written: columns of the product itself, never of a related row."""
        found: dict[str, TextPlace] = {}
        for kind, value in (("title", self.title), ("description", self.description)):
            if text_field(self.model, value.lookup):
                found[kind] = FieldText(self.model, str(value.lookup))
        tags = self._tags_place()
        return {**found, "tags": tags} if tags is not None else found

    def _tags_place(self) -> TextPlace | None:
        chosen = self.options["TAGS_FIELD"]
        kinds = (models.CharField, models.TextField, models.JSONField, models.ManyToManyField)
        name = guessing.named(self.model, guessing.TAGS, kinds, many=True) if chosen is None else chosen
        if not name:
            return None
        try:
            field = self.model._meta.get_field(name)
        except FieldDoesNotExist as error:
            raise ImproperlyConfigured(f"{self.where('TAGS_FIELD')}: {error}.") from error
        if isinstance(field, models.ManyToManyField):
            title = guessing.title_field(field.related_model)
            return RelatedTags(self.model, name, title) if title else None
        if not isinstance(field, kinds):
            raise ImproperlyConfigured(
                f"{self.where('TAGS_FIELD')}: {self.model._meta.label}.{name} holds neither text, a list nor tags."
            )
        return ListText(self.model, name)

    @property
    def text_kinds(self) -> tuple[str, ...]:
        try:
            alt = ("alt_text",) if self.supports_alt_text else ()
        except ImproperlyConfigured:
            alt = ()
        return (*self.text_places, *alt)

    def read_text(self, pk: str, kind: str, key: str = "") -> str:
        row = self.face(self.row(pk))
        if kind == "alt_text" and self.supports_alt_text:
            return self.read_alt(row, key)
        place = self._place(kind)
        return place.shown(place.stored(row))

    def write_text(self, pk: str, kind: str, text: str, key: str = "") -> Receipt:
        row = self.locked(pk)
        if kind == "alt_text" and self.supports_alt_text:
            previous = self.read_alt(row, key)
            return {"kind": kind, "key": key, "placed": self.write_alt(row, key, text), "previous": previous}
        place = self._place(kind)
        value, previous = place.value_of(text), place.stored(self.face(row))
        self.change_row(row, partial(place.put, value=value), place.columns)
        return {"kind": kind, "key": key, "placed": value, "previous": previous}

    def restore_text(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        try:
            row = self.locked(pk)
        except ProductNotFound:
            return WithdrawOutcome.PRODUCT_GONE
        kind, placed, previous = receipt["kind"], receipt["placed"], receipt["previous"]
        if kind == "alt_text":
            try:
                if self.read_alt(row, receipt["key"]) != placed:
                    return WithdrawOutcome.KEPT_NEWER
            except FileMissing:
                return WithdrawOutcome.KEPT_NEWER  # another picture stands there, with a text of its own
            self.write_alt(row, receipt["key"], previous)
            return WithdrawOutcome.RESTORED
        place = self._place(kind)
        if place.stored(self.face(row)) != placed:
            return WithdrawOutcome.KEPT_NEWER
        self.change_row(row, partial(place.put, value=previous), place.columns)
        return WithdrawOutcome.RESTORED

    def _place(self, kind: str) -> TextPlace:
        if kind not in self.text_places:
            raise self.no_text(kind)
        return self.text_places[kind]

    def face(self, row: Any) -> Any:
        """The object whose texts customers see."""
        return row

    def change_row(self, row: Any, mutate: Callable[[Any], None], columns: list[str]) -> None:
        """Apply ``mutate`` and save: with save(), so that the shop's own signals hear of it."""
        mutate(row)
        row.save(using=self.database, update_fields=[*columns, *changed_at(self.model)])

    def read_alt(self, row: Any, key: str) -> str:
        """Text alternative of one picture. Raises FileMissing."""
        return self.shelf().read_alt(row, key)

    def write_alt(self, row: Any, key: str, text: str) -> str:
        """Set it; what is stored now. Raises FileMissing, PublishError."""
        return self.shelf().write_alt(row, key, text)

    # Products

    def rows(self) -> models.QuerySet[Any]:
        """All products, with what title, category and description need fetched along."""
        rows: models.QuerySet[Any] = self.model._default_manager.all()
        values = (self.title, self.category, self.description)
        select = sorted({value.select for value in values if value.select})
        prefetch = sorted({value.prefetch for value in values if value.prefetch})
        if select:
            rows = rows.select_related(*select)
        return rows.prefetch_related(*prefetch) if prefetch else rows

    def active(self) -> models.QuerySet[Any]:
        """The products on offer: ``ACTIVE_FILTER`` is a dict of lookups, a Q, or a (dotted) function of a queryset."""
        rows, chosen = self.rows(), self.options["ACTIVE_FILTER"]
        if chosen is None:
            return rows
        if isinstance(chosen, Mapping):
            return rows.filter(**chosen)
        if isinstance(chosen, Q):
            return rows.filter(chosen)
        function: Callable[[Any], Any] = import_string(chosen) if isinstance(chosen, str) else chosen
        return function(rows)

    def to_product(self, row: Any, category: str | None = None) -> Product:
        """The row as a value; ``category`` when the caller knows under which one it was found."""
        return Product(
            pk=str(row.pk),
            title=self.title.read(row) or str(row),
            category=self.category.read(row) if category is None else category,
            description=self.description.read(row),
        )

    def products(
        self,
        *,
        pks: Iterable[str] | None = None,
        category: str | None = None,
        search: str | None = None,
    ) -> Iterator[Product]:
        rows = self.active()
        wanted = self.category_query(category) if category is not None else None
        if wanted is not None:
            # A subquery, so that a product in several categories is found once.
            rows = rows.filter(pk__in=self.model._default_manager.filter(wanted).values("pk"))
        matching = self.search_query(search) if search else None
        if matching is not None:
            rows = rows.filter(matching)
        for row in self._stream(rows, pks):
            product = self.to_product(row, category if wanted is not None else None)
            if category is not None and product.category != category:
                continue
            if search and matching is None and search.casefold() not in product.title.casefold():
                continue
            yield product

    def category_query(self, category: str) -> Q | None:
        """The condition for products of this category; None when only Python can tell."""
        return Q(**{self.category.lookup: category}) if self.category.lookup else None

    def search_query(self, text: str) -> Q | None:
        """The condition for products whose title contains the text; None when only Python can tell."""
        return Q(**{f"{self.title.lookup}__icontains": text}) if self.title.lookup else None

    def _stream(self, rows: models.QuerySet[Any], pks: Iterable[str] | None) -> Iterator[Any]:
        rows = rows.order_by("pk")
        if pks is None:
            yield from rows.iterator(chunk_size=CHUNK)
            return
        keys = sorted(set(self.to_pks(pks)))
        for start in range(0, len(keys), CHUNK):
            yield from rows.filter(pk__in=keys[start : start + CHUNK]).iterator(chunk_size=CHUNK)

    def row(self, pk: str) -> Any:
        """The product's row, on offer or not. Raises ProductNotFound."""
        rows = self.model._base_manager.all()
        try:
            return rows.get(pk=self.to_pk(pk))
        except ObjectDoesNotExist:
            raise self.not_found(pk) from None

    def get(self, pk: str) -> Product:
        return self.to_product(self.row(pk))

    def categories(self) -> list[str]:
        if not self.category:
            return []
        if self.category.lookup:
            values = self.active().order_by().values_list(self.category.lookup, flat=True).distinct()
            return sorted({str(value) for value in values if value not in (None, "")})
        return sorted({product.category for product in self.products() if product.category})

    # Pictures

    def shelf(self) -> Shelf:
        """Where pictures stand. Raises ImproperlyConfigured, saying which option decides, when that can't be told."""
        raise NotImplementedError

    def pictures(self, pk: str) -> list[Picture]:
        return self.shelf().pictures(self.row(pk))

    def open_picture(self, pk: str, key: str) -> BinaryIO:
        return self.shelf().open(self.row(pk), key)

    def publish(self, pk: str, *, content: File[bytes], filename: str, alt_text: str, placement: Placement) -> Receipt:
        self.require_placement(placement)
        product = self.locked(pk)
        return self.shelf().publish(product, content=content, filename=filename, alt_text=alt_text, placement=placement)

    def withdraw(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        try:
            product = self.locked(pk)
        except ProductNotFound:
            self.shelf().forget(receipt)
            return WithdrawOutcome.PRODUCT_GONE
        return self.shelf().withdraw(product, receipt)

    def discard(self, receipt: Receipt) -> None:
        self.shelf().discard(receipt)

    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        return self.shelf().rebase(receipt, withdrawn)

    # Checks

    def check(self) -> list[CheckMessage]:
        where = f'SHOPGEN["CATALOGUES"]["{self.alias}"]'
        try:
            model = self.model
        except ImproperlyConfigured as error:
            return [Error(str(error), id="shopgen.E101", obj=where)]
        found: list[CheckMessage] = []
        if len(model._meta.pk_fields) > 1:
            hint = "Give the model a key of one column, or write an adapter of your own."
            found.append(Error(f"{model._meta.label} has a composite key.", hint=hint, id="shopgen.E102", obj=where))
        for name in ("title", "category", "description", "text_places"):
            try:
                getattr(self, name)
            except ImproperlyConfigured as error:
                if not (found and name == "text_places"):  # which is built on the others
                    found.append(Error(str(error), id="shopgen.E103", obj=where))
        found += self._check_filter(where) if not found else []
        if not found and self.title.lookup is None and self.options["TITLE_FIELD"] is None:
            hint = f"Set {self.where('TITLE_FIELD')} so that products can be searched in the database."
            text = f"{model._meta.label} has no field that looks like a title; str() of each row is used."
            found.append(CheckWarning(text, hint=hint, id="shopgen.W101", obj=where))
        return found + self.check_pictures(where)

    def _check_filter(self, where: str) -> list[CheckMessage]:
        try:
            str(self.active().query)
        except (FieldError, ImportError, TypeError, ValueError) as error:
            hint = "A dict of lookups, a Q object, or a function that takes a queryset and returns one."
            text = f"{self.where('ACTIVE_FILTER')} can't be used: {error}"
            return [Error(text, hint=hint, id="shopgen.E104", obj=where)]
        except EmptyResultSet:
            return []
        return []

    def check_pictures(self, where: str) -> list[CheckMessage]:
        """What is wrong with the picture options."""
        try:
            shelf = self.shelf()
        except ImproperlyConfigured as error:
            return [Error(str(error), id="shopgen.E105", obj=where)]
        if not shelf.supports_main:
            hint = f"Set {self.where('ORDER_FIELD')} or {self.where('PRIMARY_FIELD')}."
            text = "The table of pictures has neither an order nor a mark for the main picture: only “gallery” works."
            return [CheckWarning(text, hint=hint, id="shopgen.W102", obj=where)]
        return []


def changed_at(model: type[models.Model]) -> list[str]:
    """The model's times of change, which a save of single columns would leave behind."""
    return [field.name for field in model._meta.concrete_fields if getattr(field, "auto_now", False)]
