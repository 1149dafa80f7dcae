"""How the API describes itself: OpenAPI 3 by drf-spectacular, whatever the host project's settings for it are.

One entry per operation stands here instead of decorators on the views, so that the generator is only imported when a
schema is asked for. Imported by :class:`shopgen_django.api.lazy.LazySchema`.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from shopgen_django import __version__

from .openapi_operations import OPERATIONS
from .serializers.base import Strict

DESCRIPTION = """\
Make, review and publish product pictures of a shop.

Errors have one shape, `{"error": {"code", "message", "fields"}}`; branch on `code`, show `message`. Lists are paged by
cursor: follow `next`. Every answer carries `X-Request-ID` and `RateLimit-*`. See docs/http.md for a tour.
"""

CUSTOM_SETTINGS: dict[str, Any] = {
    "TITLE": "shopgen_django",
    "VERSION": f"{__version__} (v1)",
    "DESCRIPTION": DESCRIPTION,
    "SERVERS": [{"url": "/shopgen/api", "description": "Where the shop has mounted shopgen_django.api.urls."}],
    "TAGS": [],
    "CONTACT": {},
    "LICENSE": {},
    "TOS": None,
    "EXTERNAL_DOCS": {},
    "EXTENSIONS_INFO": {},
    "EXTENSIONS_ROOT": {},
    "OAS_VERSION": "3.0.3",
    "SORT_OPERATIONS": False,
    "SCHEMA_PATH_PREFIX": "/v1",
    "SCHEMA_PATH_PREFIX_TRIM": False,
    "SCHEMA_PATH_PREFIX_INSERT": "",
    "COMPONENT_SPLIT_REQUEST": False,
    "ENFORCE_NON_BLANK_FIELDS": True,
    "CAMELIZE_NAMES": False,
    "APPEND_COMPONENTS": {},
    "PREPROCESSING_HOOKS": [],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums"],
    "ENUM_NAME_OVERRIDES": {},
}

# drf-spectacular keeps the settings and statistics of a generation in module globals.
_generating = threading.Lock()

_ERROR_TEXTS = {
    400: "The request is malformed or a value is not valid.",
    401: "Not signed in (403 where the shop's authentication has no challenge).",
    403: "The permission for this verb is missing.",
    404: "No such object, or the caller may not see it: the same answer for both.",
    409: "The state of the object does not allow this, or the Idempotency-Key was used for another request.",
    410: "The stored file is missing.",
    413: "The body is too large.",
    422: "Well formed, but refused: the picture, or the shop's catalogue, says no.",
    429: "A limit is reached; `Retry-After` says for how long.",
    503: "The database is busy or away; try again.",
    507: "The disk is full.",
}


class ErrorBodySerializer(serializers.Serializer[Any]):
    """What went wrong."""

    code = serializers.CharField(help_text="Stable word to branch on.")
    message = serializers.CharField(help_text="For people, in their language.")
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Messages per parameter; `images.3` is the fourth entry of `images`.",
    )


class ErrorSerializer(serializers.Serializer[Any]):
    error = ErrorBodySerializer()


class ChoiceExtension(OpenApiSerializerFieldExtension):
    """Each enumeration is a component of its own, named after its class: no guessing from field names."""

    target_class = "shopgen_django.api.serializers.base.Choice"

    def get_name(self) -> str:
        return str(self.target.component)

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        values = list(self.target.choices)
        return {"type": "string", "enum": values}


class UploadedFileExtension(OpenApiSerializerFieldExtension):
    target_class = "shopgen_django.api.serializers.base.UploadedFile"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "format": "binary"}


class LinkExtension(OpenApiSerializerFieldExtension):
    target_class = "shopgen_django.api.serializers.base.Link"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "format": "uri", "readOnly": True}


class NestedExtension(OpenApiSerializerFieldExtension):
    target_class = "shopgen_django.api.serializers.base.Nested"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        component = auto_schema.resolve_serializer(self.target.kind(), direction)
        return {"allOf": [component.ref], "nullable": True, "readOnly": True}


class PersonExtension(OpenApiSerializerFieldExtension):
    target_class = "shopgen_django.api.serializers.base.PersonField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "readOnly": True, "description": "Name for login; null when the account is gone."}


def _header(name: str, text: str, codes: list[int], kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=text, response=codes)


class ShopgenSchema(AutoSchema):
    """Reads what :data:`OPERATIONS` says about the view's action."""

    @property
    def spec(self) -> Any:
        view: Any = self.view
        return OPERATIONS[type(view).__name__, view.action]

    def get_operation_id(self) -> str:
        return str(self.spec.id)

    def get_summary(self) -> str:
        return str(self.spec.summary)

    def get_description(self) -> str:  # type: ignore[override]
        return str(self.spec.description)

    def get_tags(self) -> list[str]:
        return [str(self.spec.tag)]

    def get_request_serializer(self) -> Any:
        return self.spec.request

    def get_response_serializers(self) -> Any:
        answers: dict[Any, Any] = {}
        for code, (kind, text) in self.spec.responses.items():
            answers[code] = OpenApiResponse(kind, description=text)
        for code in sorted({*self.spec.errors, 503}):
            answers[code, "application/json"] = OpenApiResponse(ErrorSerializer, description=_ERROR_TEXTS[code])
        return answers

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if isinstance(serializer, Strict):
            schema["additionalProperties"] = False
        return schema

    def _is_list_view(self, serializer: Any = None) -> bool:
        return bool(self.spec.paged)

    def get_filter_backends(self) -> list[Any]:
        view: Any = self.view
        return list(view.filter_backends) if view.action == "list" else []

    def get_override_parameters(self) -> list[Any]:
        parameters = [*self.spec.parameters, _header("Retry-After", "Seconds to wait.", [429], int)]
        good = [int(code) for code in self.spec.responses if str(code).isdigit()]
        if "ETag" in self.spec.headers:
            parameters += [
                OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="An ETag seen before."),
                _header("ETag", "Changes with the content.", good),
            ]
        if "Location" in self.spec.headers:
            parameters.append(_header("Location", "Address of the object.", good))
        return parameters

    def map_renderers(self, attribute: str) -> list[Any]:
        return list(self.spec.media_types)

    def get_auth(self) -> list[dict[str, list[Any]]]:
        """Every operation needs somebody signed in: the empty requirement that means "or nobody" is left out."""
        return [scheme for scheme in super().get_auth() if scheme]


_METHODS = ("get", "post", "put", "patch", "delete")


def generate(server: str | None = None) -> dict[str, Any]:
    """The schema of our routes alone, independent of what else the project has. ``server``: where they are mounted."""
    from .urls import urlpatterns

    settings = dict(CUSTOM_SETTINGS)
    if server is not None:
        settings["SERVERS"] = [{"url": server}]
    with _generating, patched_settings(settings):
        schema = SchemaGenerator(patterns=urlpatterns).get_schema(request=None, public=True)
    plain: dict[str, Any] = json.loads(json.dumps(schema, default=str))
    for path, item in plain["paths"].items():
        # A route's methods come out of a set: the same every time, and reading comes before writing.
        plain["paths"][path] = dict(sorted(item.items(), key=lambda entry: _place(entry[0])))
    return plain


def _place(method: str) -> int:
    return _METHODS.index(method) if method in _METHODS else -1


def warnings() -> bool:
    """Whether the last generation had anything to complain about."""
    return bool(GENERATOR_STATS)
