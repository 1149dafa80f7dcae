"""What a job can do."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.pagination import WholeList
from shopgen_django.api.serializers.models import OperationSerializer
from shopgen_django.operations.base import Operation
from shopgen_django.operations.registry import public_operations
from shopgen_django.services.submit import choosable

_NEEDED = ("submit_job", "view_job")


class OperationViewSet(ApiViewSet):
    """Operations with the JSON schema of their parameters, texts in the caller's language."""

    verbs = {"list": _NEEDED, "retrieve": _NEEDED}
    serializer_class = OperationSerializer
    pagination_class = WholeList

    def list(self, request: Request) -> Response:
        return self.get_paginated_response([self._shown(operation) for operation in public_operations()])

    def retrieve(self, request: Request, name: str) -> Response:
        return Response(self._shown(choosable(name)))

    def _shown(self, operation: Operation) -> dict[str, Any]:
        return {
            "name": operation.name,
            "label": str(operation.label),
            "description": str(operation.description),
            "min_inputs": operation.min_inputs,
            "max_inputs": operation.max_inputs,
            "accelerated": operation.accelerated,
            "model_purpose": "" if operation.model_optional else operation.model_purpose,
            "digital_source": operation.digital_source,
            "params_version": operation.Parameters.version,
            "schema": operation.Parameters.json_schema(),
            "url": self.link("operation-detail", name=operation.name),
        }
