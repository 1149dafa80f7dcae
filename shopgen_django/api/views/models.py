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
from shopgen_django.api.serializers.trainings import TrainingCreateSerializer, TrainingResumeSerializer
from shopgen_django.exceptions import InvalidParameters, InvalidState
from shopgen_django.models import MetricPoint, ModelVersion, TrainingRun
from shopgen_django.services.models import activate_version
from shopgen_django.services.trainings import (
    OPTIONS,
    Order,
    discard_training,
    plan_training,
    resume_training,
    start_training,
    stop_training,
)


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
    """Training runs: asked for, started, stopped and resumed here; ``shopgen_worker`` runs them."""

    verbs = {
        **dict.fromkeys(("list", "retrieve", "points"), ("view_trainingrun", "start_trainingrun")),
        **dict.fromkeys(("create", "start", "stop", "resume", "destroy"), ("start_trainingrun",)),
    }
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

    def create(self, request: Request) -> Response:
        given = self._given(TrainingCreateSerializer)
        order = Order(
            name=given["name"], catalogue=given["catalogue"], options=given.get("options", {}),
            products=tuple(given.get("products", ())), activate=given["activate"],
        )
        try:
            run = plan_training(order=order, user=request.user, start=given["start"], key=given.get("id"))
        except InvalidParameters as error:
            raise InvalidParameters(error.message, fields=_placed(error.fields)) from error
        return self._accepted(run)

    def start(self, request: Request, pk: UUID) -> Response:
        return self._accepted(start_training(run=self.get_object(), user=request.user))

    def stop(self, request: Request, pk: UUID) -> Response:
        return self._accepted(stop_training(run=self.get_object(), user=request.user))

    def resume(self, request: Request, pk: UUID) -> Response:
        given = self._given(TrainingResumeSerializer)
        return self._accepted(resume_training(run=self.get_object(), user=request.user, **given))

    def destroy(self, request: Request, pk: UUID) -> Response:
        discard_training(run=self.get_object(), user=request.user)
        return Response(status=204)

    def _given(self, kind: Any) -> dict[str, Any]:
        body = kind(data=self.request.data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def _accepted(self, run: TrainingRun) -> Response:
        shown = self.get_serializer(run).data
        return Response(shown, status=202, headers={"Location": shown["url"]})

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


def _placed(fields: dict[str, list[object]]) -> dict[str, list[object]]:
    """Messages under the names that the body has."""
    return {f"options.{name}" if name in OPTIONS else name: texts for name, texts in fields.items()}
