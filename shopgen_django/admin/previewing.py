"""Live preview on the page that queues work: asked for, waited for and shown without leaving the page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from shopgen_django.exceptions import FileMissing, InvalidParameters, ShopgenError, StorageUnavailable
from shopgen_django.models import ACTIVE_JOB_STATES, Job, JobState, ProductImage
from shopgen_django.operations.base import Operation
from shopgen_django.operations.preview import Preview, held_back_in
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.previews import preview_content, submit_preview

from .bulk import chosen_keys
from .job_words import job_note
from .queueing import NAMED, PREFIX
from .status import worker_warnings
from .thumbnails import picture_response


def preview_view(request: HttpRequest) -> HttpResponse:
    """Take the settings of the page's form (POST); the answer says where to look."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    wanted = request.POST.get("operation", "")
    try:
        operation = get_operation("recipe" if wanted.startswith(NAMED) else wanted)
        params = _params(operation, wanted, request)
        images = ProductImage.objects.visible_to(request.user).in_bulk(chosen_keys(request.POST.getlist("pk"))[:50])
        chosen = [images[key] for key in chosen_keys(request.POST.getlist("pk")) if key in images]
        if not chosen:
            raise InvalidParameters(_("No picture is selected."))
        joined = operation.min_inputs > 1 or (operation.together and "together" in request.POST)
        number = operation.max_inputs if joined else 1
        job = submit_preview(operation=operation.name, params=params, inputs=chosen[:number], user=request.user)
    except ShopgenError as error:
        return JsonResponse({"problems": _problems(error)}, status=400)
    return JsonResponse({"url": reverse("admin:shopgen_job_preview", args=[job.pk])}, status=202)


def _params(operation: Operation, wanted: str, request: HttpRequest) -> dict[str, Any]:
    if wanted.startswith(NAMED):
        return {"recipe": wanted.removeprefix(NAMED)}
    form: Any = operation.Parameters(request.POST, prefix=PREFIX)
    if not form.is_valid():
        fields = {str(form.fields[name].label if name in form.fields else ""): list(texts)
                  for name, texts in form.errors.items()}  # fmt: skip
        raise InvalidParameters(_("Some settings are not valid."), fields=fields)
    return dict(form.cleaned_data)


def _problems(error: ShopgenError) -> list[str]:
    if not error.fields:
        return [str(error)]
    return [f"{name}: {text}" if name else str(text) for name, texts in error.fields.items() for text in texts]


def _own(request: HttpRequest, pk: UUID) -> Job:
    job = Job.objects.filter(pk=pk, operation=Preview.name, created_by=request.user.pk).first()
    if job is None:
        raise Http404
    return job


def state_view(request: HttpRequest, pk: UUID) -> JsonResponse:
    """How far the preview is, and where its picture lies."""
    job = _own(request, pk)
    told: dict[str, Any] = {"state": job.state, "active": job.state in ACTIVE_JOB_STATES, "note": job_note(job)}
    if job.state == JobState.QUEUED:
        told["warnings"] = worker_warnings()
    if job.state == JobState.SUCCEEDED:
        told["picture"] = reverse("admin:shopgen_job_preview_picture", args=[job.pk])
        try:
            told["held_back"] = held_back_in(preview_content(job))
        except (FileMissing, StorageUnavailable) as error:
            raise Http404 from error
    answer = JsonResponse(told)
    answer["Cache-Control"] = "no-store"
    return answer


def picture_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    try:
        return picture_response(preview_content(_own(request, pk)), seconds=60)
    except (FileMissing, StorageUnavailable) as error:
        raise Http404 from error
