"""Fields and bases that the serializers share."""

from __future__ import annotations

import math
from datetime import UTC
from typing import Any

from django.db.models import TextChoices
from django.utils.translation import gettext as _
from rest_framework import ISO_8601, serializers

from shopgen_django.api.base import link
from shopgen_django.catalogues.registry import catalogue_aliases


class Time(serializers.DateTimeField):
    """ISO 8601 in UTC whatever the host's DATETIME_FORMAT and TIME_ZONE say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format=ISO_8601, default_timezone=UTC, read_only=True, **kwargs)


class Link(serializers.SerializerMethodField):
    """Absolute address of the route ``name`` with the row's key as ``pk``."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.route = name
        super().__init__(**kwargs)

    def bind(self, field_name: str, parent: Any) -> None:
        super(serializers.SerializerMethodField, self).bind(field_name, parent)

    def to_representation(self, value: Any) -> str:
        return link(self.context["request"], self.route, pk=value.pk)


class Nested(serializers.SerializerMethodField):
    """A method's answer, of the shape that ``kind`` describes, or null."""

    def __init__(self, kind: type[serializers.Serializer[Any]], **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(**kwargs)


class PersonField(serializers.Field):
    """A user as their name for login; null when the account is gone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return str(value.get_username())


class UploadedFile(serializers.FileField):
    """A file in a form; bytes in the schema (an address is what DRF would show of a stored one)."""


class Choice(serializers.ChoiceField):
    """One of a TextChoices class, which also names it in the schema."""

    def __init__(self, kind: type[TextChoices], **kwargs: Any) -> None:
        self.component = kind.__name__
        super().__init__(choices=[pair for pair in kind.choices if pair[0]], **kwargs)


class ReadOnly(serializers.ModelSerializer[Any]):
    """A row as it is shown; every listed field is read-only."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            field.read_only = True
            field.validators = []  # nothing comes in; and a database's own ranges are no part of the schema
            if isinstance(field, serializers.IntegerField):
                field.min_value = field.max_value = None
        return fields


class Strict(serializers.Serializer[Any]):
    """A body: a name that is not declared is an error, so a misspelt or forbidden field is never silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) or hasattr(data, "keys"):
            unknown = [name for name in data if name not in self.fields and name != "csrfmiddlewaretoken"]
            if unknown:
                known = ", ".join(self.fields)
                text = _("Unknown field. Known are: %(names)s.") % {"names": known}
                raise serializers.ValidationError({str(name)[:100]: [text] for name in unknown[:20]})
        return super().to_internal_value(data)


class ExactBoolean(serializers.BooleanField):
    """true or false, not the words that forms send for them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class KeyField(serializers.CharField):
    """A product's primary key in the shop: text, or the number itself."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 255)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, float):
            self.fail("invalid")
        return super().to_internal_value(data)


class CatalogueField(serializers.CharField):
    """The alias of a configured catalogue."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 64)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        alias = super().to_internal_value(data)
        if alias and alias not in catalogue_aliases():
            raise serializers.ValidationError(
                _("There is no such catalogue. Configured: %(names)s.") % {"names": ", ".join(catalogue_aliases())}
            )
        return alias


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None
