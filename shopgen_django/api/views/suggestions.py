"""Proposed texts: read, change, decide, put into the shop, take back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.filters import StrictFilterBackend, TextFilter
from shopgen_django.api.serializers.suggestions import (
    SuggestionSerializer,
    TextChangeSerializer,
    TextDecisionSerializer,
)
from shopgen_django.models import ReviewDecision, TextSuggestion
from shopgen_django.services.texts import approve_text, edit_text, publish_text, reject_text, withdraw_text


class SuggestionViewSet(ApiViewSet):
    """Callers see the texts that they asked for; with ``view_textsuggestion`` everybody's."""

    verbs = {
        "list": (), "retrieve": (), "partial_update": ("review_textsuggestion",), "review": ("review_textsuggestion",),
        "publish": ("publish_textsuggestion",), "withdraw": ("withdraw_textsuggestion",),
    }
    serializer_class = SuggestionSerializer
    filter_backends = (StrictFilterBackend,)
    filterset_class = TextFilter
    orderings = ("-created_at", "created_at")
    split_by = "state"

    def get_queryset(self) -> QuerySet[TextSuggestion]:
        if getattr(self, "swagger_fake_view", False):
            return TextSuggestion.objects.none()
        rows = TextSuggestion.objects.visible_to(self.request.user)
        return rows.select_related("created_by", "reviewer", "published_by")

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> HttpResponseBase:
        return self.conditional(self._shown())

    def partial_update(self, request: Request, pk: UUID) -> Response:
        given = self._given(TextChangeSerializer)
        edit_text(suggestion=self.get_object(), user=request.user, text=given["text"])
        return Response(self._shown())

    def review(self, request: Request, pk: UUID) -> Response:
        given, suggestion = self._given(TextDecisionSerializer), self.get_object()
        if given["decision"] == ReviewDecision.REJECTED:
            reject_text(suggestion=suggestion, user=request.user, reason=given.get("reason", ""))
        else:
            with transaction.atomic():  # approved and published, or neither
                approve_text(suggestion=suggestion, user=request.user, text=given.get("text"))
                if given["publish"]:
                    publish_text(suggestion=suggestion, user=request.user)
        return Response(self._shown())

    def publish(self, request: Request, pk: UUID) -> Response:
        publish_text(suggestion=self.get_object(), user=request.user)
        return Response(self._shown())

    def withdraw(self, request: Request, pk: UUID) -> Response:
        withdraw_text(suggestion=self.get_object(), user=request.user)
        return Response(self._shown())

    def _given(self, kind: type[Any]) -> dict[str, Any]:
        body = kind(data=self.request.data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def _shown(self) -> Any:
        return self.get_serializer(self.get_object()).data
