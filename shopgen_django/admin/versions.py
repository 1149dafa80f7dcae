"""Trained models: which one is used, how good they are, what their pictures look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ModelVersion
from shopgen_django.services.models import LORA_KIND, activate_version

from .base import ReadOnlyAdmin
from .comparing import MOST_COMPARED, comparison, evaluation_facts
from .display import badge
from .folders import report_response, report_url, sample_url, sheet_response


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Registered by training runs; people choose which version is used."""

    list_display = ["label", "active_mark", "purpose", "category", "photos", "metrics_text", "created_at"]
    list_display_links = ["label"]
    list_filter = ["is_active", "purpose"]
    search_fields = ["name", "category"]
    ordering = ["-created_at", "-id"]
    sortable_by = ["created_at", "label"]
    actions = ["activate", "compare"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view_modelversion") or self.may(request, "activate_modelversion")

    def has_activate_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "activate_modelversion")

    @admin.display(description=gettext_lazy("model"), ordering="name")
    def label(self, version: ModelVersion) -> str:
        return str(version)

    @admin.display(description=gettext_lazy("used"))
    def active_mark(self, version: ModelVersion) -> SafeString | str:
        return badge("active", _("active")) if version.is_active else ""

    @admin.display(description=gettext_lazy("metrics"))
    def metrics_text(self, version: ModelVersion) -> str:
        return ", ".join(f"{name} {value}" for name, value in metric_rows(version) if name in _TELLING[:7]) or "—"

    @admin.action(permissions=["activate"], description=gettext_lazy("Use this version …"))
    def activate(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.warning(request, _("Choose exactly one version. Nothing was changed."))
            return None
        return self._ask(request, chosen[0])

    @admin.action(permissions=["view"], description=gettext_lazy("Compare side by side"))
    def compare(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = queryset.order_by("name", "version").values_list("pk", flat=True)
        keys = [str(key) for key in chosen[: MOST_COMPARED + 1]]
        if not 2 <= len(keys) <= MOST_COMPARED:
            messages.warning(request, _("Choose two to %(most)d versions.") % {"most": MOST_COMPARED})
            return None
        return HttpResponseRedirect(
            reverse("admin:shopgen_modelversion_compare") + "?" + urlencode({"version": keys}, doseq=True)
        )

    def _ask(self, request: HttpRequest, version: ModelVersion) -> HttpResponse:
        slot = ModelVersion.objects.filter(purpose=version.purpose, category=version.category, is_active=True)
        context = self.page_context(
            request, _("Use this model"), version=version, current=slot.exclude(pk=version.pk).first(),
            sample_url=sample_url(version), next=self.next_url(request),
            address=reverse("admin:shopgen_modelversion_activate", args=[version.pk]),
        )
        return TemplateResponse(request, "shopgen_django/admin/activate.html", context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        version = kwargs.get("obj")
        if version is not None:
            context.update(
                version=version, lora=version.config if version.config.get("kind") == LORA_KIND else None,
                sample_url=sample_url(version), evaluation=evaluation_facts(version),
                report_url=report_url(version),
                metrics=[row for row in metric_rows(version) if row[0] in _TELLING],
                other_metrics=[row for row in metric_rows(version) if row[0] not in _TELLING],
                may_activate=self.has_activate_permission(request) and not version.is_active,
                active_mark=self.active_mark(version), libraries=sorted(version.library_versions.items()),
                categories=version.config.get("categories") or [], compressed=version.compressed.order_by("created_at"),
                stages=(version.config.get("compression") or {}).get("rows") or [],
            )
        return super().render_change_form(request, context, *args, **kwargs)

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("<uuid:pk>/samples/", self.samples_view, "modelversion_samples"),
            ("<uuid:pk>/activate/", self.activate_view, "modelversion_activate"),
            ("<uuid:pk>/report/", self.report_view, "modelversion_report"),
            ("compare/", self.compare_view, "modelversion_compare"),
        ]

    def samples_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        version = ModelVersion.objects.filter(pk=pk).first()
        if version is None:
            raise Http404
        return sheet_response(version)

    def report_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The report that ``evaluate_model`` wrote into the version's folder."""
        version = ModelVersion.objects.filter(pk=pk).first() if self.has_view_permission(request) else None
        if version is None:
            raise Http404
        return report_response(version)

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Versions beside each other: samples always, figures where they may be compared."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.page_context(request, _("Versions side by side"), **comparison(request.GET.getlist("version")))
        return TemplateResponse(request, "shopgen_django/admin/compare.html", context)

    def activate_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Ask (POST), then activate (POST with ``confirm``)."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_activate_permission(request):
            raise PermissionDenied
        version = ModelVersion.objects.filter(pk=pk).first()
        if version is None:
            raise Http404
        if "confirm" not in request.POST:
            return self._ask(request, version)
        try:
            activate_version(version=version, user=request.user)
        except ShopgenError as error:
            messages.error(request, str(error))
            return self._ask(request, version)
        self.log_change(request, version, _("Activated."))
        messages.success(request, _("%(model)s is used from now on.") % {"model": version})
        return self.back(request)


_TELLING = ("kid", "fid", "coverage", "density", "precision", "recall", "diversity", "loss_held_out", "loss_base",
            "best_step", "seconds", "images_seen")


def metric_rows(version: ModelVersion) -> list[tuple[str, str]]:
    """Metrics as name and short text, those that compare models first."""
    rows = []
    names = {name: place for place, name in enumerate(_TELLING)}
    found = sorted((version.metrics or {}).items(), key=lambda item: (names.get(item[0], len(names)), item[0]))
    for name, value in found:
        if isinstance(value, dict | list):
            continue  # the evaluation has its own place
        number = isinstance(value, int | float) and not isinstance(value, bool)
        rows.append((name, _number(value) if number else str(value)[:80]))
    return rows


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
