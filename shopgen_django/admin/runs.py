"""Training runs, live: how far, how well, what the samples look like, and what to do when one has stopped."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.models import MetricPoint, RunState, TrainingRun

from .alarms import alarms
from .base import ReadOnlyAdmin
from .curves import panels
from .display import badge, duration
from .folders import latest_sheet, sheet_response

MAX_TICKS = 4_000
RESUMABLE = (RunState.STOPPED, RunState.LOST, RunState.FAILED)


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """Written by the trainer only."""

    list_display = ["name", "state_badge", "progress_cell", "photos", "latest_figures", "device", "started_at"]
    list_filter = ["state", "started_at"]
    search_fields = ["name", "category"]
    ordering = ["-started_at", "-id"]
    sortable_by = ["started_at", "name"]

    class Media:
        js = ["shopgen_django/admin/live.js"]

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, run: TrainingRun) -> SafeString:
        return badge(run.state, run.get_state_display())

    @admin.display(description=gettext_lazy("progress"))
    def progress_cell(self, run: TrainingRun) -> SafeString:
        return run_progress(run)

    @admin.display(description=gettext_lazy("latest figures"))
    def latest_figures(self, run: TrainingRun) -> str:
        return ", ".join(f"{label} {value}" for label, value in figures(run)[:3]) or "—"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        run = kwargs.get("obj")
        if run is not None:
            context.update(live_context(run), live_url=reverse("admin:shopgen_trainingrun_live", args=[run.pk]))
        return super().render_change_form(request, context, *args, **kwargs)

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("<uuid:pk>/live/", self.live_view, "trainingrun_live"),
            ("<uuid:pk>/samples/", self.samples_view, "trainingrun_samples"),
        ]

    def _run(self, request: HttpRequest, pk: UUID) -> TrainingRun:
        run = TrainingRun.objects.filter(pk=pk).first()
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404
        return run

    def live_view(self, request: HttpRequest, pk: UUID) -> JsonResponse:
        """The part of the run's page that changes, rendered anew."""
        run = self._run(request, pk)
        html = render_to_string("shopgen_django/admin/run_live.html", live_context(run), request)
        answer = JsonResponse({"html": html, "active": run.state == RunState.RUNNING})
        answer["Cache-Control"] = "no-store"
        return answer

    def samples_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        run = self._run(request, pk)
        return sheet_response(run.output_dir, run.latest_sample)


def run_progress(run: TrainingRun) -> SafeString:
    """A ``<progress>`` with its percentage."""
    percent = round(100 * run.progress)
    return format_html(
        '<span class="sg-progress"><progress max="100" value="{}" aria-label="{}"></progress> '
        '<span class="sg-percent">{}</span></span>', percent, _("Progress"), f"{percent} %",
    )


_FIGURES: tuple[tuple[str, Any, str], ...] = (
    ("loss_d", gettext_lazy("discriminator’s loss"), "{:.3f}"),
    ("loss_g", gettext_lazy("generator’s loss"), "{:.3f}"),
    ("images_per_second", gettext_lazy("pictures/s"), "{:.0f}"),
    ("accuracy_d", gettext_lazy("discriminator right"), "{:.0%}"),
    ("diversity", gettext_lazy("variety"), "{:.0%}"),
    ("kid", gettext_lazy("distance to the photos (KID)"), "{:.4f}"),
    ("coverage", gettext_lazy("photos covered"), "{:.0%}"),
)


def figures(run: TrainingRun) -> list[tuple[str, str]]:
    """The latest figures that people look at, as label and text."""
    latest = run.latest or {}
    return [
        (str(label), form.format(latest[name])) for name, label, form in _FIGURES
        if isinstance(latest.get(name), int | float)
    ]


def other_figures(run: TrainingRun) -> list[tuple[str, str]]:
    """The rest of what the trainer measures, by its own names."""
    known = {name for name, _label, _form in _FIGURES}
    return [
        (name, f"{value:.4g}") for name, value in sorted((run.latest or {}).items())
        if name not in known and isinstance(value, int | float)
    ]


def resume_command(run: TrainingRun) -> str:
    """What to type so that the run goes on; "" when it need not."""
    if run.state not in RESUMABLE:
        return ""
    return f"manage.py train_gan --name {shlex.quote(run.name)} --output {shlex.quote(run.output_dir)}"


def live_context(run: TrainingRun) -> dict[str, Any]:
    """All that the run's page shows; two queries."""
    rows = MetricPoint.objects.filter(run=run).order_by("-images_seen")
    ticks = list(rows.values_list("images_seen", "values", "seconds")[:MAX_TICKS])[::-1]
    seconds = ticks[-1][2] if ticks else None
    sheet = latest_sheet(run.output_dir, run.latest_sample)
    sample_url = ""
    if sheet is not None:
        changed = int(sheet.stat().st_mtime)
        sample_url = reverse("admin:shopgen_trainingrun_samples", args=[run.pk]) + f"?of={changed}"
    left = None
    if seconds and run.state == RunState.RUNNING and 0.01 < run.progress < 1.0:
        left = seconds * (1.0 - run.progress) / run.progress
    return {
        "run": run,
        "state_badge": badge(run.state, run.get_state_display()),
        "progress": run_progress(run),
        "figures": figures(run),
        "other_figures": other_figures(run),
        "panels": panels([(seen, values) for seen, values, _seconds in ticks]),
        "sample_url": sample_url,
        "sample_name": sheet.name if sheet is not None else "",
        "took": duration(seconds),
        "left": duration(left),
        "resume": resume_command(run),
        "active": run.state == RunState.RUNNING,
        "versions": list(run.versions.all()),
        "alarms": alarms(run.latest or {}),
    }
