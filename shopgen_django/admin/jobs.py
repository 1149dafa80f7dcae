"""The queue: what waits, runs and has gone wrong, with live progress, cancel and retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from shopgen_django.budgets import budgets
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ACTIVE_JOB_STATES, Job, JobInput, JobState
from shopgen_django.services.jobs import cancel_job, retry_job

from . import previewing, spending
from .base import ReadOnlyAdmin
from .batches import batch_summary, outputs_of
from .bulk import chosen_keys
from .display import badge, duration, operation_label, parameter_rows, when
from .filters import OperationFilter, by_uuid
from .job_words import attempt_rows, job_note, stage_of
from .picking import pick_context, subject_of
from .queueing import queue_page
from .search import bounded_search
from .status import worker_warnings

LIVE_ROWS = 200
OWNING = ("submit_job", "add_productimage")
"""With one of these people have jobs of their own."""


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Rows are written by services and workers only."""

    list_display = ["name", "product", "state_cell", "progress_cell", "note_cell", "created"]
    list_display_links = ["name"]
    list_filter = ["state", OperationFilter, "queue", "created_at"]
    search_fields = ["product_label", "error_code"]
    search_help_text = gettext_lazy(
        "How the product’s name begins, an error code, or the id of a job or batch; among the newest 2,000 jobs also "
        "any word of the name"
    )
    ordering = ["-created_at", "-id"]
    sortable_by = ["created"]
    actions = ["cancel_jobs", "retry_jobs"]

    class Media:
        js = ["shopgen_django/admin/live.js"]

    # Own jobs may be cancelled and retried with submit_job alone; the service decides for each row.
    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return any(self.may(request, name) for name in ("cancel_job", *OWNING))

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return any(self.may(request, name) for name in ("retry_job", *OWNING))

    def has_view_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        if self.may(request, "view_job"):
            return True
        own = obj is None or obj.created_by_id == request.user.pk
        return own and any(self.may(request, name) for name in ("cancel_job", "retry_job", *OWNING))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).visible_to(request.user)  # type: ignore[attr-defined]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        found = by_uuid(search_term, queryset, "batch")
        if found is None:
            found = bounded_search(
                queryset, search_term, begins=("product_label",), equals=("error_code",), within=self.search_fields,
                where=Q(state=JobState.FAILED),
            )
        return found, False

    # -- the list ---------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "warnings": worker_warnings(), "may_submit": self.may(request, "submit_job"),
            "has_budgets": bool(budgets()),
            "live_url": reverse("admin:shopgen_job_live"), **self._batch(request), **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def _batch(self, request: HttpRequest) -> dict[str, Any]:
        """How far the batch is that the list is narrowed to."""
        keys = chosen_keys([request.GET.get("batch", "")])
        summary = batch_summary(self.get_queryset(request).filter(batch=keys[0])) if keys else None
        if summary is None:
            return {}
        return {"summary": summary, "batch_url": reverse("admin:shopgen_job_batch", args=keys)}

    @admin.display(description=gettext_lazy("job"))
    def name(self, job: Job) -> str:
        return operation_label(job.operation)

    @admin.display(description=gettext_lazy("queued"), ordering="created_at")
    def created(self, job: Job) -> SafeString | str:
        return when(job.created_at)

    @admin.display(description=gettext_lazy("product"))
    def product(self, job: Job) -> str:
        return job.product_label or "—"

    @admin.display(description=gettext_lazy("state"))
    def state_cell(self, job: Job) -> SafeString:
        return format_html('<span data-sg-state="{}">{}</span>', job.pk, badge(job.state, job.get_state_display()))

    @admin.display(description=gettext_lazy("progress"))
    def progress_cell(self, job: Job) -> SafeString:
        return progress_bar(job)

    @admin.display(description=gettext_lazy("what happens"))
    def note_cell(self, job: Job) -> SafeString:
        return format_html('<span data-sg-note="{}" class="sg-note">{}</span>', job.pk, job_note(job))

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel"))
    def cancel_jobs(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self._each(request, list(rows[:500]), cancel_job, _cancelled)

    @admin.action(permissions=["retry"], description=gettext_lazy("Try again"))
    def retry_jobs(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self._each(request, list(rows[:500]), retry_job, _retried)

    def _each(
        self, request: HttpRequest, jobs: list[Job], act: Callable[..., Job], done_text: Callable[[int], str]
    ) -> None:
        done, refused = 0, []
        for job in jobs:
            try:
                act(job=job, user=request.user)
            except ShopgenError as error:
                refused.append(f"{self.name(job)} {job.product_label}: {error}")
            else:
                done += 1
                self.log_change(request, job, done_text(1))
        if done:
            messages.success(request, done_text(done))
        for text in refused[:5]:
            messages.warning(request, text)
        if len(refused) > 5:
            messages.warning(request, _("… and %(n)d more.") % {"n": len(refused) - 5})

    # -- one job ----------------------------------------------------------------------------------

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        job = kwargs.get("obj")
        if job is not None:
            context.update(self._facts(request, job))
        return super().render_change_form(request, context, *args, **kwargs)

    def _facts(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        inputs = JobInput.objects.filter(job=job).select_related("image").defer("image__params").order_by("position")
        return {
            "job": job,
            "operation_label": operation_label(job.operation),
            "progress": progress_bar(job),
            "state_badge": self.state_cell(job),
            "note": self.note_cell(job),
            "warnings": worker_warnings() if job.state in ACTIVE_JOB_STATES else (),
            "live_url": reverse("admin:shopgen_job_live"),
            "parameters": parameter_rows(job.operation, job.params),
            "attempts": attempt_rows(job),
            "inputs": [row.image for row in inputs[:100]],
            "outputs": outputs_of(job),
            "suggestions": job.suggestions.order_by("kind"),
            "took": duration(job.seconds),
            "may_cancel": job.state in ACTIVE_JOB_STATES and job.cancel_requested_at is None
            and self.has_cancel_permission(request),
            "may_retry": job.state in (JobState.FAILED, JobState.CANCELLED) and self.has_retry_permission(request),
        }

    # -- pages ------------------------------------------------------------------------------------

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("live/", self.live_view, "job_live"),
            ("queue/", self.queue_view, "job_queue"),
            ("budgets/", self.budgets_view, "budgets"),
            ("batch/<uuid:batch>/", self.batch_view, "job_batch"),
            ("<uuid:pk>/<slug:verb>-it/", self.verb_view, "job_verb"),
            ("<uuid:pk>/preview/", previewing.state_view, "job_preview"),
            ("<uuid:pk>/preview/picture/", previewing.picture_view, "job_preview_picture"),
        ]

    def budgets_view(self, request: HttpRequest) -> HttpResponse:
        """How the budgets stand."""
        if not (self.may(request, "submit_job") or self.may(request, "view_job")):
            raise PermissionDenied
        page = self.page_context(request, _("Budgets"), rows=spending.rows(request.user))
        return TemplateResponse(request, "shopgen_django/admin/budgets.html", page)

    def live_view(self, request: HttpRequest) -> JsonResponse:
        """State of the asked jobs (``?id=…&id=…``), for the rows that a page shows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        keys = chosen_keys(request.GET.getlist("id"))[:LIVE_ROWS]
        rows = self.get_queryset(request).filter(pk__in=keys).defer("params")
        answer = JsonResponse({
            "jobs": {str(job.pk): _live(job) for job in rows},
            "warnings": list(worker_warnings()),
        })  # fmt: skip
        answer["Cache-Control"] = "no-store"
        return answer

    def batch_view(self, request: HttpRequest, batch: UUID) -> JsonResponse:
        """The state of a batch as it stands above the list, and whether to ask again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        summary = batch_summary(self.get_queryset(request).filter(batch=batch))
        if summary is None:
            raise Http404
        html = render_to_string("shopgen_django/admin/includes/batch.html", {"summary": summary})
        answer = JsonResponse({"html": html, "active": summary.active})
        answer["Cache-Control"] = "no-store"
        return answer

    def queue_view(self, request: HttpRequest) -> HttpResponse:
        """Queue work without a list: for a product that is searched here, or for none."""
        if not self.may(request, "submit_job"):
            raise PermissionDenied
        return queue_page(
            self, request, subject_of(request), address=reverse("admin:shopgen_job_queue"), preferred="generate",
            **pick_context(request),
        )

    def verb_view(self, request: HttpRequest, pk: UUID, verb: str) -> HttpResponse:
        """Cancel or retry one job."""
        act = {"cancel": (cancel_job, _cancelled), "retry": (retry_job, _retried)}.get(verb)
        if act is None:
            raise Http404(verb)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        job = self.get_queryset(request).filter(pk=pk).first()
        if job is None:
            raise Http404
        if not (self.has_cancel_permission(request) if verb == "cancel" else self.has_retry_permission(request)):
            raise PermissionDenied
        self._each(request, [job], *act)
        return self.back(request, reverse("admin:shopgen_job_change", args=[pk]))


def progress_bar(job: Job) -> SafeString:
    """A ``<progress>`` with its percentage beside it."""
    percent = _percent(job)
    return format_html(
        '<span class="sg-progress" data-sg-job="{}" data-sg-active="{}">'
        '<progress max="100" value="{}" aria-label="{}"></progress> <span class="sg-percent">{}</span></span>',
        job.pk, "1" if job.state in ACTIVE_JOB_STATES else "", percent, _("Progress"), f"{percent} %",
    )


def _percent(job: Job) -> int:
    return 100 if job.state == JobState.SUCCEEDED else round(100 * job.progress)


def _live(job: Job) -> dict[str, Any]:
    return {
        "state": job.state, "label": str(job.get_state_display()), "percent": _percent(job),
        "stage": stage_of(job), "note": job_note(job), "active": job.state in ACTIVE_JOB_STATES,
    }


def _cancelled(number: int) -> str:
    return ngettext("%(n)d job is cancelled.", "%(n)d jobs are cancelled.", number) % {"n": number}


def _retried(number: int) -> str:
    return ngettext("%(n)d job is in the queue again.", "%(n)d jobs are in the queue again.", number) % {"n": number}


