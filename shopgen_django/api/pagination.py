"""Pages by key, not by number: a page costs the same at any depth, and rows added meanwhile shift nothing.

The cursor holds the ordering and the last row's values. DRF's own cursor compares one column and counts an offset among
equal values, up to a limit; rows written in bulk share their time, so here the primary key breaks the tie.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError as ApiValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from shopgen_django.conf import app_settings

PARAMETERS = ("cursor", "page_size", "ordering")


class KeysetPagination(BasePagination):
    """Reads ``view.orderings``: the allowed values of ``?ordering=``, the first being the default.

    Each names one column that is never null and, best, indexed together with the primary key.
    """

    max_page_size: int | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        self.orderings: Sequence[str] = view.orderings
        size = self._page_size(request)
        ordering = self._ordering(request)
        cursor = self._cursor(request, ordering, queryset.model)
        backwards = bool(cursor and cursor["backwards"])
        queryset = self._narrowed(queryset, ordering, cursor, backwards)
        rows = list(self._merged(queryset, getattr(view, "split_by", ""), size + 1)[: size + 1])
        more = len(rows) > size
        rows = rows[:size]
        if backwards:
            rows.reverse()
        has_next, has_previous = (cursor is not None, more) if backwards else (more, cursor is not None)
        self._next = self._link(ordering, rows[-1], backwards=False) if has_next and rows else None
        self._previous = self._link(ordering, rows[0], backwards=True) if has_previous and rows else None
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "previous": self._previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        url = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {**url, "description": "Address of the following page; null on the last one."},
                "previous": {**url, "description": "Address of the page before; null on the first one."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        texts = {
            "cursor": "Where to go on, as given in `next` and `previous`.",
            "page_size": "Rows per page.",
            "ordering": "Order of the rows; a leading minus reverses it.",
        }
        schemas: dict[str, dict[str, Any]] = {
            "cursor": {"type": "string"},
            "page_size": {"type": "integer", "minimum": 1, "maximum": self._limit()},
            "ordering": {"type": "string", "enum": list(view.orderings), "default": view.orderings[0]},
        }
        return [
            {"name": name, "required": False, "in": "query", "description": texts[name], "schema": schemas[name]}
            for name in PARAMETERS
        ]

    def to_html(self) -> str:
        return ""

    def _limit(self) -> int:
        return self.max_page_size or int(app_settings.API["MAX_PAGE_SIZE"])

    def _page_size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return min(int(app_settings.API["PAGE_SIZE"]), self._limit())
        if not (given.isascii() and given.isdigit() and len(given) <= 6 and 1 <= int(given) <= self._limit()):
            raise _invalid("page_size", _("Give a whole number from 1 to %(limit)d.") % {"limit": self._limit()})
        return int(given)

    def _ordering(self, request: Request) -> str:
        given = request.query_params.get("ordering", self.orderings[0])
        if given not in self.orderings:
            raise _invalid("ordering", _("Possible: %(names)s.") % {"names": ", ".join(self.orderings)})
        return given

    def _cursor(self, request: Request, ordering: str, model: type[Model]) -> dict[str, Any] | None:
        given = request.query_params.get("cursor")
        if given is None:
            return None
        wrong = _invalid("cursor", _("This cursor is not valid here. Start again at the first page."))
        try:
            named, backwards, value, pk = json.loads(base64.urlsafe_b64decode(given.encode("ascii")))
            if named != ordering or not isinstance(backwards, bool):
                raise wrong
            value = _field(model, ordering).to_python(value)
            pk = model._meta.pk.to_python(pk)
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error, ValidationError) as error:
            raise wrong from error
        if value is None or pk is None:
            raise wrong
        return {"backwards": backwards, "value": value, "pk": pk}

    @staticmethod
    def _narrowed(
        queryset: QuerySet[Any], ordering: str, cursor: dict[str, Any] | None, backwards: bool
    ) -> QuerySet[Any]:
        """The rows beyond the cursor, in the order in which they are to be read."""
        name = ordering.lstrip("-")
        descending = ordering.startswith("-") != backwards
        sign = "-" if descending else ""
        if cursor is not None:
            side = "lt" if descending else "gt"
            # The first condition follows from the second; it is what lets the index be entered at the right place.
            queryset = queryset.filter(**{f"{name}__{side}e": cursor["value"]}).filter(
                Q(**{f"{name}__{side}": cursor["value"]}) | Q(**{f"pk__{side}": cursor["pk"]})
            )
        return queryset.order_by(f"{sign}{name}", f"{sign}pk")

    def _merged(self, queryset: QuerySet[Any], column: str, count: int) -> QuerySet[Any]:
        """``queryset``, or its first ``count`` rows by key when two or three values of ``column`` are asked for.

        An index on (column, time) gives each value's newest rows at once but not those of several values together:
        the database would sort them all. So each value is asked for its first rows' keys, and the best are kept.
        """
        values = set(self.request.query_params.getlist(column)) if column else set()
        if not 2 <= len(values) <= 3:
            return queryset
        (name, *_rest) = queryset.query.order_by
        descending, name = str(name).startswith("-"), str(name).lstrip("-")
        found: list[tuple[Any, Any]] = []
        for value in values:
            found += queryset.filter(**{column: value}).values_list(name, "pk")[:count]
        keys = [pk for _time, pk in sorted(found, reverse=descending)[:count]]
        return queryset.filter(pk__in=keys)

    def _link(self, ordering: str, row: Any, *, backwards: bool) -> str:
        value = _field(row, ordering).value_to_string(row)
        content = json.dumps([ordering, backwards, value, str(row.pk)], separators=(",", ":"))
        cursor = base64.urlsafe_b64encode(content.encode()).decode()
        url = remove_query_param(self.request.build_absolute_uri(), "cursor")
        return replace_query_param(url, "cursor", cursor)


class WholeList(BasePagination):
    """The shape of a page around a list that is short by nature."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        return list(queryset)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": None, "previous": None, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return KeysetPagination().get_paginated_response_schema(schema)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return []

    def to_html(self) -> str:
        return ""


def _field(model: Any, ordering: str) -> Any:
    return model._meta.get_field(ordering.lstrip("-"))


def _invalid(name: str, text: str) -> ApiValidationError:
    return ApiValidationError({name: [text]})
