"""Request bodies: read at most so much, and only what the rows can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser

from shopgen_django.conf import app_settings

from .errors import ApiError

MAX_DEPTH = 20
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Room for the other form fields and the boundaries around the file.
_FORM_OVERHEAD = 64 * 1024


class StrictJSONParser(BaseParser):
    """JSON in UTF-8 of at most ``API.MAX_BODY_BYTES``, nested at most 20 deep, without NaN, NUL and lone surrogates.

    DRF's own parser reads the stream past Django's size limit, lets a deep nesting end in RecursionError, and passes
    text on that no database column can hold.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = int(app_settings.API["MAX_BODY_BYTES"])
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise ApiError(
                413, "body_too_large", _("The body may have %(limit)d bytes at most.") % {"limit": limit}
            )
        try:
            data = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except RecursionError:
            raise ParseError(_("The JSON is nested too deeply.")) from None
        except ValueError as error:
            # UnicodeDecodeError and the refusal of numbers with thousands of digits are ValueErrors too.
            raise ParseError(_("The body is not valid JSON: %(why)s") % {"why": str(error)[:200]}) from None
        check_text(data)
        return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def check_text(data: Any, depth: int = 0) -> None:
    """Raises ParseError when any text in ``data`` holds NUL or a lone surrogate, or the nesting is too deep."""
    if depth > MAX_DEPTH:
        raise ParseError(_("The JSON is nested too deeply."))
    if isinstance(data, str):
        if _UNSTORABLE.search(data):
            raise ParseError(_("Null characters and lone surrogates are not allowed in texts."))
    elif isinstance(data, dict):
        for key, value in data.items():
            check_text(key, depth + 1)
            check_text(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            check_text(value, depth + 1)


class UploadParser(MultiPartParser):
    """``multipart/form-data``; texts are held to the same rule as those in JSON."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        parsed = super().parse(stream, media_type, parser_context)
        for values in parsed.data.lists():
            check_text(list(values))
        return parsed


class UploadLimit(FileUploadHandler):
    """Stops reading as soon as the files together are longer than the limit, whatever Content-Length said."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self._limit = int(app_settings.LIMITS["MAX_UPLOAD_BYTES"])
        self._seen = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self._seen += len(raw_data)
        if self._seen > self._limit:
            raise _too_large(self._limit)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


def limit_upload(request: HttpRequest) -> None:
    """Refuse a declared length over the limit unread, and count what really comes. Call it before anything reads.

    Raises :class:`ApiError` 413.
    """
    limit = int(app_settings.LIMITS["MAX_UPLOAD_BYTES"])
    request.upload_handlers.insert(0, UploadLimit(request))
    try:
        declared = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        declared = 0
    if declared > limit + _FORM_OVERHEAD:
        raise _too_large(limit)


def _too_large(limit: int) -> ApiError:
    text = _("The file may have %(limit)d bytes at most.") % {"limit": limit}
    return ApiError(413, "too_large", text, fields={"file": [text]})
