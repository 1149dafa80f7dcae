"""What a shop's models most likely mean: used for every option that the settings leave out.

A guess is only made when the names leave one candidate; otherwise :class:`Ambiguous` says which there are, and the
system check turns that into "set this option".
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

TITLES = ("title", "name", "product_name", "product_title", "label", "headline")
CATEGORIES = ("category", "categories", "product_category", "product_type", "type", "kind", "department", "section")
DESCRIPTIONS = ("description", "long_description", "short_description", "summary", "body", "details", "text")
TAGS = ("tags", "keywords", "labels")
PICTURES = ("image", "picture", "photo", "main_image", "main_picture", "cover", "img")
ORDERS = ("sort_order", "display_order", "position", "order", "ordering", "rank", "sequence", "index", "weight")
PRIMARIES = ("is_primary", "is_main", "primary", "is_cover", "is_default", "main", "default", "cover", "is_featured")
ALTS = ("alt_text", "alt", "image_alt", "picture_alt", "photo_alt", "alternative_text", "caption")


class Ambiguous(Exception):
    """More than one candidate; ``option`` is the setting that decides."""

    def __init__(self, option: str, candidates: list[str]) -> None:
        super().__init__(option, candidates)
        self.option = option
        self.candidates = candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class TableGuess:
    """A table of pictures that belongs to the product model."""

    model: type[models.Model]
    foreign_key: str
    image_field: str


def concrete_fields(model: type[models.Model]) -> list[models.Field]:
    """The model's columns, inherited ones included, in the order of their declaration."""
    return list(model._meta.concrete_fields)


def named(
    model: type[models.Model], names: tuple[str, ...], kinds: type | tuple[type, ...], *, many: bool = False
) -> str | None:
    """The first of ``names`` that is a field of one of the ``kinds``."""
    fields: dict[str, models.Field] = {field.name: field for field in model._meta.concrete_fields}
    if many:
        fields |= {field.name: field for field in model._meta.many_to_many}
    return next((name for name in names if name in fields and isinstance(fields[name], kinds)), None)


def title_field(model: type[models.Model]) -> str | None:
    """A field called title or name, else the only text column that is no choice and no key."""
    found = named(model, TITLES, (models.CharField, models.TextField))
    if found:
        return found
    texts = [
        field.name
        for field in concrete_fields(model)
        if type(field) is models.CharField and not field.primary_key and not field.choices
    ]
    return texts[0] if len(texts) == 1 else None


def category_field(model: type[models.Model]) -> str | None:
    """A field called category or type; a path into the related table when it is a relation."""
    kinds = (models.CharField, models.ForeignKey, models.ManyToManyField)
    return named(model, CATEGORIES, kinds, many=True)


def image_fields(model: type[models.Model]) -> list[str]:
    """Names of the model's own picture columns."""
    return [field.name for field in concrete_fields(model) if isinstance(field, models.ImageField)]


def image_field(model: type[models.Model], option: str = "IMAGE_FIELD") -> str | None:
    """The model's picture column: the only one, or the only one with a usual name.

    Raises :class:`Ambiguous`.
    """
    found = image_fields(model)
    if len(found) <= 1:
        return found[0] if found else None
    usual = [name for name in found if name in PICTURES]
    if len(usual) == 1:
        return usual[0]
    raise Ambiguous(option, found)


def image_table(model: type[models.Model]) -> TableGuess | None:
    """The only table with a picture column and a foreign key to the product model. Raises :class:`Ambiguous`."""
    found: dict[str, TableGuess] = {}
    for relation in model._meta.related_objects:
        table = relation.related_model
        if not relation.one_to_many or not isinstance(table, type) or not issubclass(table, models.Model):
            continue
        if not image_fields(table) or table._meta.auto_created:
            continue
        name = image_field(table)
        if name is None or table._meta.label in found:
            raise Ambiguous("IMAGE_FK", [f"{table._meta.label}.{relation.field.name}"])
        found[table._meta.label] = TableGuess(model=table, foreign_key=relation.field.name, image_field=name)
    if len(found) > 1:
        raise Ambiguous("IMAGE_MODEL", sorted(found))
    return next(iter(found.values()), None)


def order_field(table: type[models.Model]) -> str | None:
    """The column that orders pictures."""
    return named(table, ORDERS, models.IntegerField)


def primary_field(table: type[models.Model]) -> str | None:
    """The column that marks the main picture."""
    return named(table, PRIMARIES, models.BooleanField)


def alt_field(model: type[models.Model]) -> str | None:
    """The column that holds the text alternative."""
    return named(model, ALTS, (models.CharField, models.TextField))
