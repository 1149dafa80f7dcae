"""An operation's parameters, declared once as a Django form.

A form is what a Django developer already knows, and it is the one declaration that gives all four: validation with
translatable messages, the admin's form, the JSON schema, and the API's input. What a browser form lacks for an API is
added here: unknown names are refused, a missing value takes the field's ``initial``, values keep their JSON types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidParameters

_JSON_TYPES: list[tuple[type[forms.Field], dict[str, Any]]] = [
    (forms.BooleanField, {"type": "boolean"}),
    (forms.FloatField, {"type": "number"}),
    (forms.DecimalField, {"type": "string", "format": "decimal"}),
    (forms.IntegerField, {"type": "integer"}),
    (forms.MultipleChoiceField, {"type": "array", "items": {"type": "string"}}),
    (forms.ChoiceField, {"type": "string"}),
    (forms.JSONField, {}),
    (forms.CharField, {"type": "string"}),
]


_LARGEST = 2**63
"""Larger whole numbers fit no column, and the largest no floating point either."""


class ColourField(forms.RegexField):
    """A colour as ``#rrggbb``; the cleaned value is that text in lower case."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs={"type": "color"}))
        kwargs.setdefault(
            "error_messages", {"invalid": gettext_lazy("Enter a colour as #rrggbb, for example #ffffff.")}
        )
        kwargs.setdefault("strip", True)  # the pattern's $ lets a line's end through
        super().__init__(regex=r"^#[0-9a-fA-F]{6}$", **kwargs)

    def clean(self, value: Any) -> str:
        return str(super().clean(value)).lower()


class PictureField(forms.CharField):
    """The id of one of the shop's pictures that is used beside the inputs, as text; "" for none.

    Whether there is such a picture, and whether it may be used, is asked by the service that queues the job. The admin
    shows pictures to choose from.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 36)
        super().__init__(**kwargs)

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        if not text:
            return ""
        try:
            return str(UUID(text))
        except ValueError:
            raise ValidationError(_("Give the id of one of the shop's pictures.")) from None


class Parameters(forms.Form):
    """Base of an operation's ``Parameters``.

    ``version`` rises when stored parameters need to be read differently; :meth:`upgrade` brings old ones up to date, so
    that jobs queued before a deploy still run.
    """

    version = 1

    @classmethod
    def upgrade(cls, params: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Parameters stored by ``from_version`` as this version reads them."""
        return params

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every parameter's initial value."""
        return {name: _initial(field) for name, field in cls.base_fields.items()}

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Validated, complete, JSON-able parameters.

        Raises :class:`InvalidParameters` with the messages per field.
        """
        if given is not None and not isinstance(given, Mapping):
            raise InvalidParameters(_("The parameters must be an object of names and values."))
        given = dict(given or {})
        # A name that isn't known may hold what no message can be written with.
        unknown = sorted(str(name).encode(errors="replace").decode() for name in given if name not in cls.base_fields)
        if unknown:
            message = _("Unknown parameter. Known are: %(names)s.") % {"names": ", ".join(cls.base_fields)}
            raise InvalidParameters(
                _("Unknown parameters: %(names)s.") % {"names": ", ".join(unknown)},
                fields={name: [message] for name in unknown},
            )
        wrong_types = _wrong_types(cls.base_fields, given)
        if wrong_types:
            raise InvalidParameters(_("Some parameters have the wrong type."), fields=wrong_types)
        form = cls(data={**cls.defaults(), **given})
        if not form.is_valid():
            raise InvalidParameters(
                _("Some parameters are not valid."),
                fields={name: [str(text) for text in texts] for name, texts in form.errors.items()},
            )
        return {name: _settled(cls.base_fields[name], value) for name, value in form.cleaned_data.items()}

    @classmethod
    def pictures(cls, params: Mapping[str, Any]) -> dict[str, str]:
        """The pictures that parsed parameters name: field -> id."""
        fields = (name for name, field in cls.base_fields.items() if isinstance(field, PictureField))
        return {name: str(params[name]) for name in fields if params.get(name)}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) of the parameters, with titles and help texts in the active language."""
        properties = {name: _field_schema(field) for name, field in cls.base_fields.items()}
        required = [
            name for name, field in cls.base_fields.items() if field.required and _initial(field) is None
        ]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        if required:
            schema["required"] = required
        return schema


def _settled(field: forms.Field, value: Any) -> Any:
    """What is chosen twice is done once."""
    return list(dict.fromkeys(value)) if isinstance(field, forms.MultipleChoiceField) else value


def _initial(field: forms.Field) -> Any:
    value = field.initial() if callable(field.initial) else field.initial
    if value is None and isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField):
        return False
    if value is None and not field.required and isinstance(field, forms.CharField | forms.ChoiceField):
        return ""
    return value


def _wrong_types(fields: Mapping[str, forms.Field], given: Mapping[str, Any]) -> dict[str, list[object]]:
    """Forms read text; over HTTP a list for a number or ``true`` for an integer is a mistake to be told."""
    told = {name: _wrong_type(fields[name], value) for name, value in given.items()}
    return {name: [text] for name, text in told.items() if text}


def _wrong_type(field: forms.Field, value: Any) -> str:
    """What is wrong with the type of a value; "" when nothing is."""
    if isinstance(value, str) and not _is_plain(value):
        return _("Null characters and lone surrogates are not allowed in texts.")
    if isinstance(field, forms.JSONField):
        return ""
    if isinstance(field, forms.MultipleChoiceField):
        return "" if isinstance(value, list | tuple) else _("Give a list.")
    if isinstance(value, list | tuple | dict):
        return _("Give a single value, not a list or an object.")
    if isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField):
        # A form takes every text but a few for a tick: "no" would mean yes.
        known = isinstance(value, bool) or str(value).lower() in ("true", "false")
        return "" if known else _("Give true or false.")
    if isinstance(value, bool):
        return _("Give a value, not true or false.")
    if isinstance(value, int) and abs(value) > _LARGEST:
        return _("This number is too large.")
    return ""


def _is_plain(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _field_schema(field: forms.Field) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for field_type, json_type in _JSON_TYPES:
        if isinstance(field, field_type):
            schema.update(json_type)
            break
    if field.label:
        schema["title"] = str(field.label)
    if field.help_text:
        schema["description"] = str(field.help_text)
    default = _initial(field)
    if default is not None:
        schema["default"] = default
    for attribute, keyword in (
        ("min_value", "minimum"), ("max_value", "maximum"),
        ("min_length", "minLength"), ("max_length", "maxLength"),
    ):
        limit = getattr(field, attribute, None)
        if limit is not None:
            schema[keyword] = limit() if callable(limit) else limit
    if isinstance(field, forms.RegexField):
        schema["pattern"] = field.regex.pattern
    if isinstance(field, forms.ChoiceField):
        _add_choices(schema, field)
    if not field.required and schema.get("type") in {"integer", "number"}:
        schema["type"] = [schema["type"], "null"]
    return schema


def _add_choices(schema: dict[str, Any], field: forms.ChoiceField) -> None:
    values = [str(value) for value, _label in field.widget.choices]  # the widget holds them as plain pairs
    if isinstance(field, forms.MultipleChoiceField):
        schema["items"] = {"type": "string", "enum": values}
    else:
        schema["enum"] = values if field.required or "" in values else ["", *values]
