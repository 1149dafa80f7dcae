"""The adapter for a shop of one's own: any product model, any kind of key, pictures on it or in their own table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models

from . import guessing
from .modelled import ModelCatalogue
from .shelves import FieldShelf, Shelf, TableShelf


class GenericCatalogue(ModelCatalogue):
    """A plain Django shop; ``MODEL`` is the only option it needs.

    What is left out is guessed from names and types: ``TITLE_FIELD``, ``CATEGORY_FIELD`` (a path through relations, a
    function or an attribute), ``DESCRIPTION_FIELD``, ``IMAGE_FIELD`` (a picture column of the product, or of
    ``IMAGE_MODEL`` when that is set), ``IMAGE_FK`` (its foreign key to the product), ``ORDER_FIELD``,
    ``PRIMARY_FIELD`` (a boolean that marks the main picture) and ``ALT_FIELD``. False switches an option off that
    would be guessed wrongly. ``ACTIVE_FILTER`` limits what is on offer.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {
        **ModelCatalogue.OPTIONS,
        "IMAGE_FIELD": None,
        "IMAGE_MODEL": None,
        "IMAGE_FK": None,
        "ORDER_FIELD": None,
        "PRIMARY_FIELD": None,
        "ALT_FIELD": None,
    }

    @property
    def supports_main(self) -> bool:  # type: ignore[override]
        return self.shelf().supports_main

    @property
    def supports_gallery(self) -> bool:  # type: ignore[override]
        return self.shelf().supports_gallery

    @property
    def supports_alt_text(self) -> bool:  # type: ignore[override]
        return self.shelf().supports_alt_text

    def shelf(self) -> Shelf:
        return self._shelf

    @cached_property
    def _shelf(self) -> Shelf:
        try:
            if self.options["IMAGE_MODEL"]:
                return self._table(self.resolve_model("IMAGE_MODEL"), self.options["IMAGE_FK"])
            own = self.options["IMAGE_FIELD"] or guessing.image_field(self.model)
            if own:
                return self._field(own)
            table = guessing.image_table(self.model)
        except guessing.Ambiguous as error:
            raise ImproperlyConfigured(
                f"{self.where(error.option)} has to be set, as there is more than one place for pictures: "
                f"{', '.join(error.candidates)}."
            ) from None
        if table is None:
            raise ImproperlyConfigured(
                f"{self.model._meta.label} has no ImageField, and no table with one has a foreign key to it. "
                f"Set {self.where('IMAGE_FIELD')}, or {self.where('IMAGE_MODEL')}."
            )
        return self._table(table.model, table.foreign_key)

    def _field(self, name: str) -> FieldShelf:
        self._require(self.model, name, models.FileField, "IMAGE_FIELD")
        alt = self._option(self.model, "ALT_FIELD", guessing.alt_field(self.model))
        return FieldShelf(self.model, image=name, alt=alt, database=self.database)

    def _table(self, table: type[models.Model], foreign_key: str | None) -> TableShelf:
        image = self.options["IMAGE_FIELD"] or guessing.image_field(table)
        if not image:
            raise ImproperlyConfigured(
                f"{table._meta.label} has no ImageField. Set {self.where('IMAGE_FIELD')} to its file column."
            )
        self._require(table, image, models.FileField, "IMAGE_FIELD")
        return TableShelf(
            table,
            foreign_key=foreign_key or self._guess_foreign_key(table),
            image=image,
            order=self._option(table, "ORDER_FIELD", guessing.order_field(table)),
            primary=self._option(table, "PRIMARY_FIELD", guessing.primary_field(table)),
            alt=self._option(table, "ALT_FIELD", guessing.alt_field(table)),
            database=self.database,
        )

    def _guess_foreign_key(self, table: type[models.Model]) -> str:
        found = [
            field.name
            for field in table._meta.concrete_fields
            if isinstance(field, models.ForeignKey) and issubclass(self.model, field.related_model)
        ]
        if len(found) != 1:
            raise ImproperlyConfigured(
                f"{self.where('IMAGE_FK')} has to name the foreign key of {table._meta.label} to "
                f"{self.model._meta.label}; candidates: {', '.join(found) or 'none'}."
            )
        return found[0]

    def _option(self, model: type[models.Model], option: str, guess: str | None) -> str | None:
        """The option's field, or the guess when it is left out, or None when it is switched off with False."""
        chosen = self.options[option]
        if chosen is None:
            return guess
        if not chosen:
            return None
        self._require(model, chosen, models.Field, option)
        return str(chosen)

    def _require(self, model: type[models.Model], name: str, kind: type[models.Field], option: str) -> None:
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            raise ImproperlyConfigured(f"{self.where(option)}: {model._meta.label} has no field “{name}”.") from None
        if not isinstance(field, kind):
            raise ImproperlyConfigured(
                f"{self.where(option)}: {model._meta.label}.{name} is a {type(field).__name__}, not a {kind.__name__}."
            )

    def check_pictures(self, where: str) -> list[CheckMessage]:
        found = super().check_pictures(where)
        if any(message.is_serious() for message in found):
            return found
        shelf = self.shelf()
        if isinstance(shelf, FieldShelf) and not self.options["IMAGE_FIELD"]:
            found += self._check_forgotten_table(where)
        if apps.is_installed("django_cleanup") or apps.is_installed("django_cleanup.apps.CleanupConfig"):
            text = "django-cleanup deletes the old file when a picture is published, so it can't come back."
            hint = f"Decorate {shelf.model._meta.label} with django_cleanup.cleanup.ignore."
            found.append(CheckWarning(text, hint=hint, id="shopgen.W104", obj=where))
        return found

    def _check_forgotten_table(self, where: str) -> list[CheckMessage]:
        """A table of pictures beside the product's own picture: ours would be the less used of the two, maybe."""
        try:
            table = guessing.image_table(self.model)
        except guessing.Ambiguous:
            table = None
        if table is None:
            return []
        text = f"{self.model._meta.label} has a picture of its own and a table of pictures, {table.model._meta.label}."
        hint = f"Set {self.where('IMAGE_FIELD')} to keep the former, or {self.where('IMAGE_MODEL')} to use the latter."
        return [CheckWarning(text, hint=hint, id="shopgen.W103", obj=where)]
