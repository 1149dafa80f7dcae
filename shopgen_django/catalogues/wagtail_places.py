"""Where a Wagtail image stands on a page or snippet: behind a foreign key, or in a child relation (a gallery).

All of it works on objects in memory, live ones and drafts alike; saving them is the business of
:func:`shopgen_django.catalogues.wagtail_revisions.change`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models

from . import files, guessing


class ImagePlace(ABC):
    """``columns`` are what :meth:`put` and :meth:`take` set, ``image_model`` is the shop's Wagtail image model."""

    supports_gallery = False
    columns: list[str]
    image_model: type[models.Model]

    @abstractmethod
    def keys(self, item: Any) -> list[Any]:
        """Primary keys of the images that stand there, the main one first."""

    @abstractmethod
    def put(self, item: Any, key: Any, *, placement: str, text: str) -> None:
        """Put the image there."""

    @abstractmethod
    def take(self, item: Any, key: Any, back: Any | None) -> None:
        """Take the image ``key`` out, if it stands there; where it had replaced another, put ``back`` there."""

    @abstractmethod
    def lost(self, item: Any, previous: Any) -> bool:
        """Whether the main image that stood there before can't come back."""

    def may_be_empty(self) -> bool:
        """Whether there may be no image at all."""
        return True


class KeyPlace(ImagePlace):
    """A foreign key to the image: a new picture replaces the old."""

    def __init__(self, model: type[models.Model], field: str) -> None:
        found: Any = model._meta.get_field(field)
        self.field = found
        self.column = found.attname
        self.columns = [field]
        self.image_model = found.related_model

    def keys(self, item: Any) -> list[Any]:
        key = getattr(item, self.column)
        return [] if key is None else [key]

    def put(self, item: Any, key: Any, *, placement: str, text: str) -> None:
        setattr(item, self.column, key)

    def take(self, item: Any, key: Any, back: Any | None) -> None:
        # An editor may have chosen another picture in the draft already: that choice stays.
        if getattr(item, self.column) == key:
            setattr(item, self.column, back)

    def lost(self, item: Any, previous: Any) -> bool:
        return not self.image_model._base_manager.filter(pk=previous).exists()

    def may_be_empty(self) -> bool:
        return bool(self.field.null)


class GalleryPlace(ImagePlace):
    """A child relation (``ParentalKey``, usually an ``Orderable``) of rows that each point to an image."""

    supports_gallery = True

    def __init__(self, child: type[models.Model], relation: str, field: str) -> None:
        found: Any = child._meta.get_field(field)
        self.child = child
        self.relation = relation
        self.column = found.attname
        self.columns = [relation]
        self.image_model = found.related_model
        self.order = guessing.order_field(child)
        self.alt = guessing.alt_field(child)

    def _rows(self, item: Any) -> list[Any]:
        rows = list(getattr(item, self.relation).all())
        if self.order is None:
            return rows
        order = self.order
        # Rows without an order (a relation that was never sorted) keep their place among themselves.
        return sorted(rows, key=lambda row: getattr(row, order) if getattr(row, order) is not None else 0)

    def _set(self, item: Any, rows: list[Any]) -> None:
        if self.order is not None:
            for number, row in enumerate(rows):
                setattr(row, self.order, number)
        setattr(item, self.relation, rows)

    def keys(self, item: Any) -> list[Any]:
        return [getattr(row, self.column) for row in self._rows(item) if getattr(row, self.column) is not None]

    def put(self, item: Any, key: Any, *, placement: str, text: str) -> None:
        row = self.child(**{self.column: key})
        if self.alt is not None:
            setattr(row, self.alt, files.fit_text(self.child, self.alt, text))
        rows = self._rows(item)
        self._set(item, [row, *rows] if placement == "main" else [*rows, row])

    def take(self, item: Any, key: Any, back: Any | None) -> None:
        self._set(item, [row for row in self._rows(item) if getattr(row, self.column) != key])

    def lost(self, item: Any, previous: Any) -> bool:
        return previous not in self.keys(item)


def find_place(
    model: type[models.Model], *, image_field: str | None, gallery: str | None, where: Callable[[str], str]
) -> ImagePlace:
    """The place that the options name, or the only one there is. Raises ImproperlyConfigured."""
    keys = [field.name for field in model._meta.concrete_fields if _points_to_image(field)]
    galleries = _galleries(model)
    label = model._meta.label
    if gallery is not None:
        if gallery not in galleries:
            raise ImproperlyConfigured(
                f"{where('GALLERY')}: {label}.{gallery} is no child relation with a foreign key to the Wagtail image "
                f"model. Such are: {', '.join(galleries) or 'none'}."
            )
        return galleries[gallery]
    if image_field is not None:
        if image_field not in keys:
            raise ImproperlyConfigured(
                f"{where('IMAGE_FIELD')}: {label}.{image_field} is no foreign key to the Wagtail image model. "
                f"Such are: {', '.join(keys) or 'none'}."
            )
        return KeyPlace(model, image_field)
    usual = [name for name in keys if name in guessing.PICTURES]
    for candidates in (keys, usual):
        if len(candidates) == 1:
            return KeyPlace(model, candidates[0])
    if not keys and len(galleries) == 1:
        return next(iter(galleries.values()))
    raise ImproperlyConfigured(
        f"{where('IMAGE_FIELD')} has to name the foreign key of {label} to the Wagtail image model (candidates: "
        f"{', '.join(keys) or 'none'}), or {where('GALLERY')} a child relation that holds images (candidates: "
        f"{', '.join(galleries) or 'none'})."
    )


def _points_to_image(field: Any) -> bool:
    from wagtail.images.models import AbstractImage

    related = getattr(field, "related_model", None)
    return isinstance(field, models.ForeignKey) and isinstance(related, type) and issubclass(related, AbstractImage)


def _galleries(model: type[models.Model]) -> dict[str, GalleryPlace]:
    """Child relations of the model, by name, whose rows have one foreign key to an image."""
    from modelcluster.fields import ParentalKey

    found = {}
    for relation in model._meta.related_objects:
        child: Any = relation.related_model
        if not isinstance(relation.field, ParentalKey):
            continue
        keys = [field.name for field in child._meta.concrete_fields if _points_to_image(field)]
        if len(keys) == 1:
            name = str(relation.get_accessor_name())
            found[name] = GalleryPlace(child, name, keys[0])
    return found
