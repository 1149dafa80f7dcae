"""Where a product's texts stand in a shop: title, description and tags in columns of the product.

Each place reads and writes plain text; how the shop stores it (HTML, a list, rows of a tag table) is its own business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.html import conditional_escape, strip_tags
from django.utils.translation import gettext as _

from shopgen_django.exceptions import PublishError

HTML_FIELDS = ("richtext", "html", "ckeditor", "tinymce", "summernote", "quill")
"""What the names of field classes contain that hold HTML."""


class TextPlace(ABC):
    """One kind of text on a product. ``columns``: what :meth:`put` sets."""

    columns: list[str]

    @abstractmethod
    def stored(self, row: Any) -> Any:
        """What stands there, as JSON."""

    @abstractmethod
    def shown(self, value: Any) -> str:
        """A stored value as plain text; tags one a line."""

    @abstractmethod
    def value_of(self, text: str) -> Any:
        """What would be stored for the text. Raises PublishError when this shop can't hold it."""

    @abstractmethod
    def put(self, row: Any, value: Any) -> None:
        """Set a stored value, without saving the row."""


class FieldText(TextPlace):
    """A column of characters, plain or HTML."""

    def __init__(self, model: type[models.Model], name: str, *, html: bool | None = None) -> None:
        self.field = cast(models.Field, model._meta.get_field(name))
        self.name, self.columns = name, [name]
        self.html = is_html(self.field) if html is None else html

    def stored(self, row: Any) -> Any:
        value = getattr(row, self.name)
        return value if value is None else str(value)

    def shown(self, value: Any) -> str:
        text = str(value or "")
        return plain(text) if self.html else text

    def value_of(self, text: str) -> str:
        value = paragraphs(text) if self.html else text
        return cast(str, cleaned(self.field, value))

    def put(self, row: Any, value: Any) -> None:
        setattr(row, self.name, value)


class ListText(TextPlace):
    """Tags in a column: a JSON list, or characters with commas between."""

    def __init__(self, model: type[models.Model], name: str) -> None:
        self.field = cast(models.Field, model._meta.get_field(name))
        self.name, self.columns = name, [name]
        self.is_json = isinstance(self.field, models.JSONField)

    def stored(self, row: Any) -> Any:
        return getattr(row, self.name)

    def shown(self, value: Any) -> str:
        words = value if isinstance(value, list) else str(value or "").split(",")
        return "\n".join(filter(None, (str(word).strip() for word in words)))

    def value_of(self, text: str) -> Any:
        words = [word.strip() for word in text.splitlines() if word.strip()]
        return words if self.is_json else cleaned(self.field, ", ".join(word.replace(",", " ") for word in words))

    def put(self, row: Any, value: Any) -> None:
        setattr(row, self.name, value)


class RelatedTags(TextPlace):
    """Tags as rows of a table of their own: only those that the shop has are set."""

    def __init__(self, model: type[models.Model], name: str, title: str) -> None:
        field: Any = model._meta.get_field(name)
        self.name, self.title, self.columns = name, title, []
        self.table: type[models.Model] = field.related_model

    def stored(self, row: Any) -> Any:
        return sorted(str(pk) for pk in getattr(row, self.name).values_list("pk", flat=True))

    def shown(self, value: Any) -> str:
        found = self.table._base_manager.filter(pk__in=value).values_list(self.title, flat=True)
        return "\n".join(sorted(str(name) for name in found))

    def value_of(self, text: str) -> Any:
        words = [word.strip() for word in text.splitlines() if word.strip()]
        rows = self.table._default_manager.filter(**{f"{self.title}__in": words})
        known = {str(getattr(row, self.title)): str(row.pk) for row in rows}
        unknown = [word for word in words if word not in known]
        if unknown:
            raise PublishError(
                _("The shop has no such tag: %(names)s. Add it there first, or take it out of the text.")
                % {"names": ", ".join(unknown[:5])}
            )
        return sorted({known[word] for word in words})

    def put(self, row: Any, value: Any) -> None:
        getattr(row, self.name).set(self.table._base_manager.filter(pk__in=value))


def text_field(model: type[models.Model], name: str | None) -> bool:
    """Whether a name is that of a column of characters of the model itself, which people can edit."""
    if not name or "__" in name:
        return False
    found = {field.name: field for field in model._meta.concrete_fields}.get(name)
    return isinstance(found, models.CharField | models.TextField) and found.editable and not found.choices


def is_html(field: models.Field) -> bool:
    """Whether a column holds HTML, by the name of its class."""
    name = type(field).__name__.lower()
    return any(word in name for word in HTML_FIELDS)


def cleaned(field: models.Field, value: Any) -> Any:
    """Checked as a form of the shop would check it. Raises PublishError with what is wrong."""
    try:
        return field.clean(value, None)
    except ValidationError as error:
        raise PublishError(
            _("The shop’s “%(field)s” does not take this text: %(why)s")
            % {"field": field.verbose_name, "why": " ".join(error.messages)}
        ) from error


def paragraphs(text: str) -> str:
    """Plain text as HTML: nothing in it is taken for markup."""
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    return "".join(f"<p>{conditional_escape(part).replace(chr(10), '<br>')}</p>" for part in parts)


def plain(html: str) -> str:
    """HTML as plain text, a blank line between paragraphs."""
    from html import unescape

    for tag in ("</p>", "</li>", "</h1>", "</h2>", "</h3>", "</div>"):
        html = html.replace(tag, f"{tag}\n\n")
    text = unescape(strip_tags(html.replace("<br>", "\n").replace("<br/>", "\n").replace("<br />", "\n")))
    lines = "\n".join(line.strip() for line in text.splitlines())
    while "\n\n\n" in lines:
        lines = lines.replace("\n\n\n", "\n\n")
    return lines.strip()
