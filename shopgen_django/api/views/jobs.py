"""Jobs: queue one, watch it, cancel it, try it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.errors import ApiError, not_found_message
from shopgen_django.api.filters import JobFilter, StrictFilterBackend
from shopgen_django.api.serializers.jobs import JobCreateSerializer, JobSerializer
from shopgen_django.exceptions import NotFound
from shopgen_django.models import Job, JobInput, ProductImage, TextSuggestion
from shopgen_django.services.jobs import cancel_job, retry_job
from shopgen_django.services.submit import submit_job

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class JobViewSet(ApiViewSet):
    """Callers see their own jobs; with ``view_job`` everybody's."""

    verbs = {
        "list": (),
        "retrieve": (),
        "create": ("submit_job",),
        # The service decides between one's own job and somebody else's.
        "cancel": ("submit_job", "cancel_job", "add_productimage"),
        "retry": ("submit_job", "retry_job", "add_productimage"),
    }
    scopes = {"create": "jobs", "retry": "jobs"}
    serializer_class = JobSerializer
    filter_backends = (StrictFilterBackend,)
    filterset_class = JobFilter
    orderings = ("-created_at", "created_at")
    split_by = "state"

    def get_queryset(self) -> QuerySet[Job]:
        if getattr(self, "swagger_fake_view", False):
            return Job.objects.none()
        return job_rows(self.request.user)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> HttpResponseBase:
        return self.conditional(self.get_serializer(self.get_object()).data)

    def create(self, request: Request) -> Response:
        body = JobCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        given = body.validated_data
        job, created = submit_job(
            operation=given["operation"],
            params=given.get("params"),
            inputs=visible_images(request.user, given.get("inputs", ())),
            catalogue=given.get("catalogue", ""),
            object_pk=given.get("object_pk", ""),
            user=request.user,
            idempotency_key=idempotency_key(request),
        )
        return accepted(self, job, replayed=not created)

    def cancel(self, request: Request, pk: UUID) -> Response:
        job = cancel_job(job=self.get_object(), user=request.user)
        shown = self.get_serializer(self.get_queryset().get(pk=job.pk)).data
        # A running job stops at its next step: asked for, not done yet.
        return Response(shown, status=200 if job.is_finished else 202)

    def retry(self, request: Request, pk: UUID) -> Response:
        return accepted(self, retry_job(job=self.get_object(), user=request.user))


def accepted(view: ApiViewSet, job: Job, *, replayed: bool = False) -> Response:
    """202: the job as it stands now, and where to follow it."""
    row = job_rows(view.request.user).get(pk=job.pk)
    shown = JobSerializer(row, context=view.get_serializer_context()).data
    headers = {"Location": shown["status_url"]}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(shown, status=202, headers=headers)


def job_rows(user: Any) -> QuerySet[Job]:
    """The jobs that ``user`` may see, with what their serializer reads: four queries however many there are."""
    return (
        Job.objects.visible_to(user)
        .select_related("created_by")
        .defer("history", "request_sha256")
        .prefetch_related(
            Prefetch("job_inputs", queryset=JobInput.objects.only("job_id", "image_id", "position")),
            Prefetch("suggestions", queryset=TextSuggestion.objects.only("id", "job_id").order_by("kind")),
            Prefetch("images", queryset=ProductImage.objects.only("id", "job_id", "index").order_by()),
        )
    )


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header, or "". Raises :class:`ApiError` 400 when it can't be one."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return ""
    if not _KEY.fullmatch(given):
        text = _("The Idempotency-Key must have 1 to 255 printable ASCII characters without spaces.")
        raise ApiError(400, "invalid_idempotency_key", text)
    return given


def visible_images(user: Any, ids: Sequence[UUID]) -> list[ProductImage]:
    """The pictures in the order of ``ids``. Raises NotFound, the same for missing and for foreign ones."""
    found = ProductImage.objects.visible_to(user).in_bulk(list(ids))
    missing = [str(pk) for pk in ids if pk not in found]
    if missing:
        raise NotFound(not_found_message(), fields={"inputs": [f"{pk}: {not_found_message()}" for pk in missing[:20]]})
    return [found[pk] for pk in ids]
