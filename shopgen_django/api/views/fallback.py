"""An address below ``v1/`` that does not exist answers in this API's own words."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.errors import ApiError, not_found_message


class UnknownRoute(ApiViewSet):
    """404 for everybody, unread and uncounted."""

    methods = ("get", "post", "put", "patch", "delete")
    authentication_classes: Any = ()
    permission_classes: Any = ()
    throttle_classes: Any = ()
    schema = None

    def unknown(self, request: Request, **kwargs: Any) -> Response:
        if not request.path.endswith("/"):
            raise ApiError(404, "not_found", _("Addresses of this API end with a slash."))
        raise ApiError(404, "not_found", not_found_message())
