"""One shape for every error, whoever raised it: ``{"error": {"code", "message", "fields"}}``.

Codes are stable words that a client may branch on; messages are for people and translated; ``fields`` maps a parameter
to its messages. No answer carries a traceback, a path or SQL: what is not expected is logged under the request's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as _
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from shopgen_django import exceptions as shopgen

logger = logging.getLogger("shopgen_django.api")

# The first class that fits decides, so subclasses come before their base.
STATUS: tuple[tuple[type[shopgen.ShopgenError], int], ...] = (
    (shopgen.InvalidParameters, 400),
    (shopgen.NotAllowed, 403),
    (shopgen.NotFound, 404),
    (shopgen.InvalidState, 409),
    (shopgen.IdempotencyConflict, 409),
    # Trying again changes nothing until somebody activates a model, so this is no 503.
    (shopgen.ModelUnavailable, 409),
    (shopgen.FileMissing, 410),
    (shopgen.PublishError, 422),
    (shopgen.PermanentError, 422),
    (shopgen.LimitExceeded, 429),
    (shopgen.TransientError, 503),
    (shopgen.StorageFull, 507),
)

_DRF_CODES: tuple[tuple[type[drf.APIException], str], ...] = (
    (drf.ValidationError, "invalid_parameters"),
    (drf.ParseError, "malformed_request"),
    (drf.NotAuthenticated, "not_authenticated"),
    (drf.AuthenticationFailed, "authentication_failed"),
    (drf.PermissionDenied, "not_allowed"),
    (drf.NotFound, "not_found"),
    (drf.MethodNotAllowed, "method_not_allowed"),
    (drf.NotAcceptable, "not_acceptable"),
    (drf.UnsupportedMediaType, "unsupported_media_type"),
    (drf.Throttled, "rate_limited"),
)


class ApiError(Exception):
    """An error of the HTTP layer itself, with its own status."""

    def __init__(
        self, status: int, code: str, message: object, *, fields: Mapping[str, list[Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """The answer to ``error``; never None, so that no HTML error page leaves this API."""
    set_rollback()
    status, code, message, fields, headers = _describe(error, context)
    body = {
        "error": {
            "code": code,
            "message": str(message),
            "fields": {name: [str(text) for text in texts] for name, texts in fields.items()},
        }
    }
    return Response(body, status=status, headers=headers)


_Described = tuple[int, str, object, Mapping[str, list[Any]], dict[str, str]]


def _describe(error: Exception, context: Mapping[str, Any]) -> _Described:
    if isinstance(error, ApiError):
        return error.status, error.code, error.message, error.fields, error.headers
    if isinstance(error, shopgen.ShopgenError):
        return _describe_own(error)
    if isinstance(error, Http404):
        return 404, "not_found", not_found_message(), {}, {}
    if isinstance(error, PermissionDenied):
        return 403, "not_allowed", _("You may not do this."), {}, {}
    if isinstance(error, drf.APIException):
        return _describe_drf(error)
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        # Too many form fields or files, a body that ended early, a bad Host header.
        return 400, "malformed_request", _("The request could not be read."), {}, {}
    return _describe_unexpected(error, context)


def _describe_own(error: shopgen.ShopgenError) -> _Described:
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
    headers = {}
    if isinstance(error, shopgen.LimitExceeded):
        headers["Retry-After"] = str(max(1, error.retry_after))
    return status, error.code, error.message, error.fields, headers


def _describe_drf(error: drf.APIException) -> _Described:
    code = next((code for kind, code in _DRF_CODES if isinstance(error, kind)), "error")
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if isinstance(error, drf.Throttled):
        wait = max(1, round(getattr(error, "wait", None) or 1))
        headers["Retry-After"] = str(wait)
        return error.status_code, code, _("Too many requests. Try again in %(wait)d s.") % {"wait": wait}, {}, headers
    if isinstance(error, drf.ValidationError):
        fields = _flatten(error.detail)
        general = fields.pop("", [])
        message = " ".join(str(text) for text in general) or _("Some values are not valid; “fields” says which.")
        return error.status_code, code, message, fields, headers
    if isinstance(error, drf.NotFound):
        return 404, code, not_found_message(), {}, headers
    return error.status_code, code, error.detail, {}, headers


def _describe_unexpected(error: Exception, context: Mapping[str, Any]) -> _Described:
    view, request = context.get("view"), context.get("request")
    name = getattr(view, "request_id", "")
    logger.error("Request %s failed: %s", name, type(error).__name__, exc_info=error)
    if isinstance(error, OperationalError | InterfaceError) and not _is_missing_table(error):
        return 503, "database_unavailable", _("The database is busy or away. Try again."), {}, {"Retry-After": "2"}
    if isinstance(error, DatabaseError):
        logger.debug("A database error that is no outage is an error of ours.")
    # What error reporters listen to; Django itself sends it only for exceptions that leave the view.
    got_request_exception.send(sender=type(view), request=getattr(request, "_request", request))
    message = _("Something went wrong on our side. The log has the details under request %(id)s.") % {"id": name}
    return 500, "internal_error", message, {}, {}


def _is_missing_table(error: Exception) -> bool:
    """Whether ``migrate`` was forgotten: no outage, so waiting helps nobody. Only SQLite reports it as one."""
    return str(error).startswith(("no such table", "no such column"))


def not_found_message() -> str:
    """The same text for what does not exist and for what the caller may not see."""
    return _("There is no such object, or you may not see it.")


def _flatten(detail: Any, prefix: str = "") -> dict[str, list[Any]]:
    """DRF's nested details as one level: ``images.3`` for the fourth entry of ``images``."""
    if isinstance(detail, Mapping):
        flat: dict[str, list[Any]] = {}
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            path = ".".join(part for part in (prefix, own) if part)
            for key, texts in _flatten(inner, path).items():
                flat.setdefault(key, []).extend(texts)
        return flat
    if isinstance(detail, list):
        if any(isinstance(entry, Mapping | list) for entry in detail):
            return _flatten({str(index): entry for index, entry in enumerate(detail) if entry}, prefix)
        return {prefix: list(detail)}
    return {prefix: [detail]}
