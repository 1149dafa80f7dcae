"""Many jobs at once, with a rehearsal first."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.errors import ApiError, not_found_message
from shopgen_django.api.serializers.batch import BatchSerializer
from shopgen_django.api.throttling import take_more
from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.models import Job, ProductImage
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.batch import BatchItem, BatchPlan, Problem, known_batch, plan_batch, submit_batch
from shopgen_django.services.submit import choosable

from .jobs import idempotency_key


class BatchViewSet(ApiViewSet):
    """``dry_run`` first: it counts, estimates and names every item that can't be done."""

    verbs = {"create": ("submit_job",)}
    scopes = {"create": "jobs"}
    serializer_class = BatchSerializer

    def create(self, request: Request) -> Response:
        body = BatchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        given, key = body.validated_data, idempotency_key(request)
        if key and not given["dry_run"]:
            jobs = known_batch(user=request.user, idempotency_key=key, request=request.data)
            if jobs is not None:
                return self._queued(jobs, (), replayed=True)
        items, problems = self._items(given)
        plan = plan_batch(operation=given["operation"], params=given.get("params"), items=items, user=request.user)
        problems += plan.problems
        if given["dry_run"]:
            return Response(self._shown(plan, problems))
        self._refuse(plan, problems, skip=given["skip_problems"])
        take_more(self, len(plan.items) - 1)
        _batch, jobs, created = submit_batch(
            operation=given["operation"], params=given.get("params"), items=plan.items, user=request.user,
            idempotency_key=key, request=request.data,
        )
        return self._queued(jobs, problems, replayed=not created)

    def _items(self, given: dict[str, Any]) -> tuple[list[BatchItem], list[Problem]]:
        if "images" in given:
            return self._named_images(given["images"])
        if "image_filter" in given:
            rows = self._visible().filter(**_image_conditions(given["image_filter"])).order_by("created_at", "pk")
            return [_of_image(row) for row in _within(rows[: batch_limit() + 1])], []
        alias = given.get("catalogue") or "default"
        if "products" in given:
            keys = list(dict.fromkeys(_within(given["products"])))
        else:
            products = get_catalogue(alias).products(**given["product_filter"])
            keys = [product.pk for product in _within(list(islice(products, batch_limit() + 1)))]
        return self._products(given["operation"], alias, keys)

    def _visible(self) -> Any:
        return ProductImage.objects.visible_to(self.request.user)

    def _named_images(self, ids: list[Any]) -> tuple[list[BatchItem], list[Problem]]:
        wanted = list(dict.fromkeys(_within(ids)))
        found = self._visible().in_bulk(wanted)
        problems = [
            Problem(item=str(pk), code="not_found", message=not_found_message()) for pk in wanted if pk not in found
        ]
        return [_of_image(found[pk]) for pk in wanted if pk in found], problems

    def _products(self, operation: str, alias: str, keys: list[str]) -> tuple[list[BatchItem], list[Problem]]:
        if choosable(operation).max_inputs == 0:
            return [BatchItem(name=key, catalogue=alias, object_pk=key) for key in keys], []
        pictures: dict[str, list[ProductImage]] = defaultdict(list)
        rows = self._visible().sources().filter(catalogue=alias, object_pk__in=keys).order_by("created_at", "pk")
        for row in _within(rows[: batch_limit() + 1]):
            pictures[row.object_pk].append(row)
        text = _("No photo of this product has been imported or uploaded yet. Queue “import_photos” for it first.")
        problems = [Problem(item=key, code="no_pictures", message=text) for key in keys if key not in pictures]
        items = [
            BatchItem(name=key, inputs=(row,), catalogue=alias, object_pk=key)
            for key in keys for row in pictures.get(key, ())
        ]
        return items, problems

    def _refuse(self, plan: BatchPlan, problems: list[Problem], *, skip: bool) -> None:
        if problems and not skip:
            raise ApiError(
                422, "batch_has_problems",
                _("Nothing was queued, because of problems with %(count)d of the items. Leave them out, or set "
                  "skip_problems.")
                % {"count": len(problems)},
                fields={f"items.{problem.item}": [problem.message] for problem in problems[:100]},
            )
        if not plan.items:
            raise ApiError(422, "nothing_to_do", _("Nothing matches, so there is nothing to queue."))

    def _shown(self, plan: BatchPlan, problems: list[Problem]) -> dict[str, Any]:
        return {
            "count": len(plan.items),
            "estimate": {"seconds": round(plan.seconds, 1), "outputs": plan.outputs},
            "problems": shown_problems(problems),
            "limit": batch_limit(),
        }

    def _queued(self, jobs: list[Job], problems: Any, *, replayed: bool) -> Response:
        operation = get_operation(jobs[0].operation)
        inputs = jobs[0].job_inputs.count()  # the same for all of a batch
        estimates = [operation.estimate(job.params, inputs) for job in jobs]
        status_url = f"{self.link('job-list')}?batch={jobs[0].batch}"
        shown = {
            "batch": str(jobs[0].batch),
            "count": len(jobs),
            "jobs": [str(job.pk) for job in jobs],
            "status_url": status_url,
            "estimate": {
                "seconds": round(sum(estimate.seconds for estimate in estimates), 1),
                "outputs": sum(estimate.outputs for estimate in estimates),
            },
            "problems": shown_problems(problems),
        }
        headers = {"Location": status_url}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(shown, status=202, headers=headers)


def batch_limit() -> int:
    """Jobs that one batch may queue: more than a minute's allowance could never pass."""
    return min(int(app_settings.API["BATCH_ITEMS"]), int(app_settings.API["JOBS_PER_MINUTE"]))


def _within(items: Any) -> Any:
    """``items`` as they are. Raises :class:`ApiError` when there are too many for one batch."""
    if len(items) > batch_limit():
        raise ApiError(
            400, "batch_too_large",
            _("One batch may hold %(limit)d items at most. Split it, or narrow the filter.") % {"limit": batch_limit()},
        )
    return items


def _image_conditions(given: dict[str, Any]) -> dict[str, Any]:
    conditions = dict(given)
    if "state" in conditions:
        conditions["state__in"] = conditions.pop("state")
    if "batch" in conditions:
        conditions["job__batch"] = conditions.pop("batch")
    return conditions


def _of_image(row: ProductImage) -> BatchItem:
    return BatchItem(name=str(row.pk), inputs=(row,))


def shown_problems(problems: Any) -> list[dict[str, str]]:
    return [{"item": row.item, "code": row.code, "message": row.message} for row in problems]
