"""Training runs, live: how far, how well, what the samples look like, and what to do when one has stopped."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidParameters, ShopgenError
from shopgen_django.jobs.trainings import log_path, log_tail
from shopgen_django.models import (
    ACTIVE_RUN_STATES,
    RESUMABLE_RUN_STATES,
    MetricPoint,
    ModelVersion,
    RunState,
    TrainingRun,
)
from shopgen_django.services.models import LORA_KIND
from shopgen_django.services.trainings import (
    UNMADE,
    discard_training,
    may_start,
    resume_training,
    start_training,
    stop_training,
)

from .alarms import alarms
from .base import ReadOnlyAdmin
from .curves import panels
from .display import badge, change_url, duration
from .folders import sample_url, sheet_response
from .training_form import training_page
from .training_words import estimate_facts, estimate_warnings, verbs, waits_for

MAX_TICKS = 4_000
LOG_LINES = 200


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """Rows are written by the trainer and the services; people ask for trainings here."""

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

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_start(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view_trainingrun") or may_start(request.user)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return training_page(self, request)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        run = kwargs.get("obj")
        if run is not None:
            may = self.may(request, "activate_modelversion")
            context.update(
                live_context(run), live_url=reverse("admin:shopgen_trainingrun_live", args=[run.pk]),
                verbs=verbs(run) if may_start(request.user) else {}, minutes=_minutes(run), newest=newest_version(run),
                in_use=in_use(run), may_activate=may, log_url=_log_url(run),
            )
        return super().render_change_form(request, context, *args, **kwargs)

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("<uuid:pk>/log/", self.log_view, "trainingrun_log"),
            ("<uuid:pk>/do/", self.verb_view, "trainingrun_verb"),
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
        answer = JsonResponse({"html": html, "active": run.state in ACTIVE_RUN_STATES})
        answer["Cache-Control"] = "no-store"
        return answer

    def samples_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        run = self._run(request, pk)
        return sheet_response(run)

    def log_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The last lines that the run's process wrote, as plain text."""
        text = log_tail(log_path(self._run(request, pk)), lines=LOG_LINES)
        return HttpResponse(text or _("Nothing yet."), content_type="text/plain; charset=utf-8")

    def verb_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Start, stop, resume or discard (POST ``verb``)."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run, verb = self._run(request, pk), request.POST.get("verb", "")
        if verb not in _VERBS:
            raise Http404(verb)
        function, said = _VERBS[verb]
        given: dict[str, Any] = {}
        try:
            if verb == "resume" and (text := request.POST.get("minutes", "").strip()):
                given["minutes"] = _number(text)
            with transaction.atomic():
                if verb == "discard":
                    self.log_deletions(request, TrainingRun.objects.filter(pk=pk))
                function(run=run, user=request.user, **given)
        except ShopgenError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(change_url(run))
        messages.success(request, str(said) % {"name": run.name})
        if verb == "discard":
            return self.back(request)
        self.log_change(request, run, str(said) % {"name": run.name})
        return HttpResponseRedirect(change_url(run))


_VERBS: dict[str, tuple[Callable[..., Any], Any]] = {
    "start": (start_training, gettext_lazy("The training %(name)s starts as soon as a worker is free.")),
    "stop": (stop_training, gettext_lazy("The training %(name)s is asked to stop; it saves first.")),
    "resume": (resume_training, gettext_lazy("The training %(name)s goes on as soon as a worker is free.")),
    "discard": (discard_training, gettext_lazy("The training %(name)s is discarded.")),
}


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InvalidParameters(_("This is not a number of minutes: %(text)s.") % {"text": text}) from None


def _minutes(run: TrainingRun) -> float | None:
    """Minutes that it was asked for, over all parts."""
    minutes = (run.order or {}).get("options", {}).get("minutes")
    return float(minutes) if minutes else None


def newest_version(run: TrainingRun) -> ModelVersion | None:
    """The last model that came of the run."""
    return run.versions.order_by("-version").first()


def in_use(run: TrainingRun) -> ModelVersion | None:
    """The model that is used where this run's would be, when it is another one."""
    newest = newest_version(run)
    if newest is None:
        return None
    slot = ModelVersion.objects.filter(purpose=newest.purpose, category=newest.category, is_active=True)
    return slot.exclude(pk=newest.pk).first()


def _log_url(run: TrainingRun) -> str:
    return reverse("admin:shopgen_trainingrun_log", args=[run.pk]) if log_path(run).is_file() else ""


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
    ("loss", gettext_lazy("loss"), "{:.4f}"),
    ("loss_held_out", gettext_lazy("loss on photos held out"), "{:.4f}"),
    ("loss_base", gettext_lazy("the same without the LoRA"), "{:.4f}"),
    ("best_step", gettext_lazy("best step"), "{:.0f}"),
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
    """What to type so that the run goes on; "" when it need not, or when a button does it."""
    if run.order or run.state not in RESUMABLE_RUN_STATES:
        return ""
    command = "train_lora" if (run.config or {}).get("kind") == LORA_KIND else "train_gan"
    return f"manage.py {command} --name {shlex.quote(run.name)} --output {shlex.quote(run.output_dir)}"


def live_context(run: TrainingRun) -> dict[str, Any]:
    """All that the run's page shows; two queries, a few more while it waits."""
    rows = MetricPoint.objects.filter(run=run).order_by("-images_seen")
    ticks = list(rows.values_list("images_seen", "values", "seconds")[:MAX_TICKS])[::-1]
    seconds = ticks[-1][2] if ticks else None
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
        "sample_url": sample_url(run),
        "sample_name": PurePosixPath(run.latest_sample).name,
        "took": duration(seconds),
        "left": duration(left),
        "resume": resume_command(run),
        "active": run.state in ACTIVE_RUN_STATES,
        "estimate": estimate_facts(run) if not run.images_seen else [],
        "estimate_warnings": estimate_warnings(run) if run.state in (RunState.PLANNED, RunState.QUEUED) else [],
        "waits_for": waits_for(run),
        "begun": bool(run.images_seen) or run.state not in UNMADE,
        "versions": list(run.versions.all()),
        "alarms": alarms(run.latest or {}),
    }
