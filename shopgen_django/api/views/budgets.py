"""What may be spent, and what is left of it."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.pagination import WholeList
from shopgen_django.api.serializers.budgets import BudgetSerializer
from shopgen_django.services.budgets import Standing, budget_standings


class BudgetViewSet(ApiViewSet):
    """Callers see the budgets that pay for their work; with the permission ``view_job`` all."""

    verbs = {"list": ("submit_job", "view_job")}
    serializer_class = BudgetSerializer
    pagination_class = WholeList

    def list(self, request: Request) -> Response:
        found = [_shown(standing) for standing in budget_standings(request.user)]
        return self.get_paginated_response(BudgetSerializer(found, many=True).data)


def _shown(standing: Standing) -> dict[str, Any]:
    budget = standing.budget
    return {
        "name": budget.name, "label": budget.label, "unit": budget.unit, "period": budget.period, "each": budget.each,
        "engines": budget.engines, "operations": budget.operations, "limit": budget.limit, "used": standing.used,
        "held": standing.held, "left": standing.left, "began": standing.began, "renews": standing.renews,
    }
