"""What every view of this API has in common, independent of the host project's ``REST_FRAMEWORK`` settings.

Authentication alone is the shop's: whatever DRF is configured with there (sessions keep their CSRF check).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from django.apps import apps
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import get_conditional_response, patch_vary_headers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.viewsets import GenericViewSet

from .errors import handle
from .lazy import LazySchema
from .pagination import KeysetPagination
from .parsers import StrictJSONParser
from .permissions import VerbPermission
from .throttling import WindowThrottle

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class StrictJSONRenderer(JSONRenderer):
    """The same JSON whatever the host's settings for indentation, escaping and NaN."""

    compact = True
    strict = True
    ensure_ascii = False


class ApiViewSet(GenericViewSet):
    """Base of every view.

    ``verbs``: action -> permission codenames of which one is needed (an empty tuple: signed in is enough).
    ``scopes``: action -> throttle scope where it is not "reads" (GET) or "writes" (everything else).
    """

    verbs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    scopes: ClassVar[Mapping[str, str]] = {}
    permission_classes: Any = (VerbPermission,)
    throttle_classes: Any = (WindowThrottle,)
    parser_classes: Any = (StrictJSONParser,)
    pagination_class: Any = KeysetPagination
    filter_backends: Any = ()
    content_negotiation_class = DefaultContentNegotiation
    metadata_class = None
    versioning_class = None
    schema: Any = LazySchema()
    rate: Any = None
    request_id: str = ""

    def throttle_scope(self) -> str:
        """The counter that this request falls under."""
        default = "reads" if self.request.method in {"GET", "HEAD", "OPTIONS"} else "writes"
        return self.scopes.get(self.action or "", default)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filters narrow lists; a single object is found by its key alone."""
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    def get_renderers(self) -> list[BaseRenderer]:
        renderers: list[BaseRenderer] = [StrictJSONRenderer()]
        if BrowsableAPIRenderer in api_settings.DEFAULT_RENDERER_CLASSES and apps.is_installed("rest_framework"):
            renderers.append(BrowsableAPIRenderer())
        return renderers

    def get_exception_handler(self) -> Any:
        return handle

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        given = request.headers.get("X-Request-ID", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        # A charset in the Content-Type header may name any codec of Python's; ours is UTF-8.
        request.encoding = "utf-8"
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["X-Request-ID"] = self.request_id
        response.setdefault("Cache-Control", "private, no-cache")
        response.setdefault("X-Content-Type-Options", "nosniff")
        patch_vary_headers(response, ["Cookie", "Authorization"])
        if self.rate is not None:
            response["RateLimit-Limit"] = str(self.rate.limit)
            response["RateLimit-Remaining"] = str(self.rate.remaining)
            response["RateLimit-Reset"] = str(self.rate.reset)
        return response

    def link(self, name: str, /, **kwargs: Any) -> str:
        """Absolute address of one of our routes, in whatever namespace the shop has mounted them."""
        return link(self.request, name, **kwargs)

    def conditional(self, data: Any) -> HttpResponseBase:
        """``data`` with a weak ETag of its own content, or 304 when the client has it already.

        The tag is computed from the answer itself: no change can be missed because some writer forgot a timestamp.
        """
        body = StrictJSONRenderer().render(data)
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        answer = get_conditional_response(self.request._request, etag=tag)
        if answer is not None:
            return answer
        return Response(data, headers={"ETag": tag})


def link(request: Request, name: str, /, **kwargs: Any) -> str:
    """Absolute address of the route ``name``."""
    match = request.resolver_match
    namespace = match.namespace if match is not None and match.namespace else "shopgen-api"
    return request.build_absolute_uri(reverse(f"{namespace}:{name}", kwargs=kwargs))
