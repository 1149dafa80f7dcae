"""Trained models and the runs that make them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.filters import ModelFilter, RunFilter, StrictFilterBackend
from shopgen_django.api.pagination import KeysetPagination
from shopgen_django.api.serializers.models import MetricPointSerializer, ModelSerializer, TrainingRunSerializer
from shopgen_django.exceptions import InvalidState
from shopgen_django.models import MetricPoint, ModelVersion, TrainingRun
from shopgen_django.services.models import activate_version


class ModelViewSet(ApiViewSet):
    """Model versions. One is active per purpose and category."""

    verbs = {
        "list": ("view_modelversion",),
        "retrieve": ("view_modelversion",),
        "activate": ("activate_modelversion",),
    }
    serializer_class = ModelSerializer
    filter_backends = (StrictFilterBackend,)
    filterset_class = ModelFilter
    orderings = ("-created_at", "created_at")

    def get_queryset(self) -> QuerySet[ModelVersion]:
        return ModelVersion.objects.select_related("created_by")

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> HttpResponseBase:
        return self.conditional(self.get_serializer(self.get_object()).data)

    def activate(self, request: Request, pk: UUID) -> Response:
        version = self.get_object()
        try:
            activate_version(version=version, user=request.user)
        except InvalidState as error:
            if error.code != "weights_missing":
                raise
            # The service's message names the folder, which is nobody's business over HTTP.
            raise InvalidState(
                _("The weights of %(name)s are missing on the server.") % {"name": version}, code=error.code
            ) from error
        return Response(self.get_serializer(self.get_object()).data)


class PointPagination(KeysetPagination):
    """Points are small: more of them fit a page."""

    max_page_size = 1000


class TrainingRunViewSet(ApiViewSet):
    """Training runs, to be read: they are started on the machine that trains."""

    verbs = dict.fromkeys(("list", "retrieve", "points"), ("view_trainingrun",))
    serializer_class = TrainingRunSerializer
    filter_backends = (StrictFilterBackend,)
    filterset_class = RunFilter

    @property
    def orderings(self) -> tuple[str, ...]:
        return ("images_seen", "-images_seen") if self.action == "points" else ("-started_at", "started_at")

    @property
    def paginator(self) -> Any:
        if not hasattr(self, "_pages"):
            self._pages = PointPagination() if self.action == "points" else KeysetPagination()
        return self._pages

    def get_queryset(self) -> QuerySet[TrainingRun]:
        return TrainingRun.objects.select_related("created_by")

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> HttpResponseBase:
        return self.conditional(self.get_serializer(self.get_object()).data)

    def points(self, request: Request, pk: UUID) -> Response:
        run = self.get_object()
        rows = MetricPoint.objects.filter(run=run)
        after = request.query_params.get("after")
        if after is not None:
            if not (after.isascii() and after.isdigit() and len(after) <= 18):
                raise ValidationError({"after": [_("Give a whole number.")]})
            rows = rows.filter(images_seen__gt=int(after))
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(MetricPointSerializer(page, many=True).data)
