"""About the service itself: is the work going on, and what does the API look like."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet, StrictJSONRenderer
from shopgen_django.api.permissions import StaffOnly, VerbPermission
from shopgen_django.jobs.health import queue_health


class HealthViewSet(ApiViewSet):
    """Whether jobs are being worked on; for staff."""

    verbs = {"retrieve": ()}
    permission_classes = (VerbPermission, StaffOnly)

    def retrieve(self, request: Request) -> Response:
        queues = queue_health()
        return Response({"ok": all(queue.ok for queue in queues), "queues": [asdict(queue) for queue in queues]})


class SchemaViewSet(ApiViewSet):
    """This API in OpenAPI 3; YAML, or JSON when ``Accept`` asks for it."""

    verbs = {"retrieve": ()}
    schema = None

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        renderer = StrictJSONRenderer()  # of errors; the schema itself is written below
        return renderer, renderer.media_type

    def retrieve(self, request: Request) -> HttpResponse:
        from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer

        from shopgen_django.api.openapi import generate

        match = request.resolver_match
        namespace = match.namespace if match is not None and match.namespace else "shopgen-api"
        own = reverse(f"{namespace}:schema")
        schema = generate(server=request.build_absolute_uri(own.removesuffix("/v1/schema/")))
        wants_json = "json" in request.headers.get("Accept", "")
        renderer = OpenApiJsonRenderer2() if wants_json else OpenApiYamlRenderer()
        content_type = "application/json" if wants_json else "application/vnd.oai.openapi; charset=utf-8"
        return HttpResponse(renderer.render(schema, renderer_context={}), content_type=content_type)
