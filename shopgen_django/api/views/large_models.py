"""Large models and networks: what there is, and what workers are asked to do with it."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.pagination import WholeList
from shopgen_django.api.serializers.large_models import (
    LargeModelCreateSerializer,
    LargeModelSerializer,
    ModelRequestSerializer,
)
from shopgen_django.models import Job, JobState
from shopgen_django.services.supplied import Supplied, all_supplied, get_supplied
from shopgen_django.services.supplied_work import (
    ADD,
    REMOVE,
    VERIFY,
    Addition,
    ask_addition,
    ask_removal,
    ask_verification,
)

_VIEW = ("view_suppliedmodel", ADD, REMOVE, VERIFY)


class LargeModelViewSet(ApiViewSet):
    """Whoever may do anything with models may see them. Files are touched by workers alone, so verbs answer 202."""

    verbs = {"list": _VIEW, "retrieve": _VIEW, "create": (ADD,), "verify": (VERIFY,), "destroy": (REMOVE,)}
    serializer_class = LargeModelSerializer
    pagination_class = WholeList

    def list(self, request: Request) -> Response:
        return self.get_paginated_response([self._shown(model) for model in all_supplied()])

    def retrieve(self, request: Request, name: str) -> HttpResponseBase:
        return self.conditional(self._shown(get_supplied(name)))

    def create(self, request: Request) -> Response:
        body = LargeModelCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._accepted(ask_addition(addition=Addition(**body.validated_data), user=request.user))

    def verify(self, request: Request, name: str) -> Response:
        return self._accepted(ask_verification(name=name, user=request.user))

    def destroy(self, request: Request, name: str) -> Response:
        return self._accepted(ask_removal(name=name, user=request.user))

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "shown_request": self._request, "url_of": self._url}

    def _shown(self, model: Supplied) -> dict[str, Any]:
        return dict(self.get_serializer(model).data)

    def _accepted(self, job: Job) -> Response:
        shown = self._request(job)
        return Response(shown, status=202, headers={"Location": shown["status_url"]})

    def _request(self, job: Job) -> dict[str, Any]:
        name = str(job.params["name"])
        values = {
            "verb": job.params["verb"], "name": name, "state": job.state, "asked_by": job.created_by,
            "asked_at": job.created_at, "error": job.error_detail if job.state == JobState.FAILED else None,
            "status_url": self.link("job-detail", pk=job.pk), "url": self._url(name),
        }  # fmt: skip
        return dict(ModelRequestSerializer(values).data)

    def _url(self, name: str) -> str:
        return self.link("large-model-detail", name=name)
