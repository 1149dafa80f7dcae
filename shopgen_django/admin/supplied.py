"""Large models and networks: what there is, from where, under which licence, and whether its files are what they were.

The page changes nothing by itself: a worker is asked, and the page shows how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import NotFound, ShopgenError
from shopgen_django.models import SuppliedModel
from shopgen_django.services.model_sources import offered_folders, source_folders
from shopgen_django.services.model_uses import dependants_of
from shopgen_django.services.supplied import Supplied, all_supplied, get_supplied, not_added, requests
from shopgen_django.services.supplied_work import (
    ADD,
    LONGEST,
    REMOVE,
    VERIFY,
    Addition,
    ask_addition,
    ask_look,
    ask_removal,
    ask_verification,
)

from .base import ReadOnlyAdmin
from .status import worker_warnings
from .supplied_words import card_of, dependant_rows, kind_words, licence_words, request_rows

SHOWN_REQUESTS = 8
LICENCES = (
    "Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "OpenRAIL++-M",
    "CreativeML-OpenRAIL-M", "CC-BY-NC-4.0",
)  # fmt: skip
"""Licences that such models often come under, offered while somebody types."""


class AddForm(forms.Form):
    """What has to be said about a folder before it becomes a model."""

    path = forms.CharField(
        label=gettext_lazy("Folder on the server"), max_length=LONGEST["path"],
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "sg-folders", "autocomplete": "off"}),
    )
    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=64, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("What the settings call it: small letters, digits, dots and hyphens."),
    )
    licence = forms.CharField(
        label=gettext_lazy("Licence"), max_length=LONGEST["licence"],
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "sg-licences", "autocomplete": "off"}),
        help_text=gettext_lazy("An SPDX identifier where there is one, such as Apache-2.0."),
    )
    commercial = forms.ChoiceField(
        label=gettext_lazy("Does it allow commercial use?"), widget=forms.RadioSelect,
        choices=[("yes", gettext_lazy("yes")), ("no", gettext_lazy("no"))],
        help_text=gettext_lazy("A shop’s product pictures are commercial use."),
    )
    source = forms.CharField(
        label=gettext_lazy("Source"), max_length=LONGEST["source"],
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("The address that it comes from. Nothing is fetched from there."),
    )
    base = forms.CharField(
        label=gettext_lazy("Base model"), max_length=LONGEST["base"], required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("The model that it was made from, if any."),
    )

    def addition(self) -> Addition:
        values = dict(self.cleaned_data)
        return Addition(**{**values, "commercial": values["commercial"] == "yes"})


@admin.register(SuppliedModel)
class SuppliedModelAdmin(ReadOnlyAdmin):
    """The list is made of files, rows and what ships, so it is a page of its own and no list of rows."""

    class Media:
        js = ["shopgen_django/admin/live.js"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return any(self.may(request, name) for name in ("view_suppliedmodel", ADD, REMOVE, VERIFY))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, ADD)

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("live/", self.live_view, "suppliedmodel_live"),
            ("look/", self.look_view, "suppliedmodel_look"),
            ("<str:name>/verify/", self.verify_view, "suppliedmodel_verify"),
            ("<str:name>/remove/", self.remove_view, "suppliedmodel_remove"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        self._require_view(request)
        context = self.page_context(
            request, capfirst(str(self.opts.verbose_name_plural)), **_listed(request),
            live_url=reverse("admin:shopgen_suppliedmodel_live"), may_add=self.has_add_permission(request),
            may_look=self.may(request, VERIFY), not_added=not_added(),
        )
        return TemplateResponse(request, "shopgen_django/admin/supplied.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        return HttpResponseRedirect(_place(row.name if row is not None else ""))

    def live_view(self, request: HttpRequest) -> JsonResponse:
        """The part of the page that changes, rendered anew."""
        self._require_view(request)
        listed = _listed(request)
        html = render_to_string("shopgen_django/admin/supplied_live.html", listed, request)
        answer = JsonResponse({"html": html, "active": listed["active"]})
        answer["Cache-Control"] = "no-store"
        return answer

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AddForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                ask_addition(addition=form.addition(), user=request.user)
            except ShopgenError as error:
                own = {name: texts for name, texts in error.fields.items() if name in form.fields}
                for name, texts in own.items():
                    form.add_error(name, [str(text) for text in texts])
                if not own:
                    form.add_error(None, str(error))
            else:
                name = form.cleaned_data["name"]
                messages.success(request, _("A worker is asked to add %(name)s.") % {"name": name})
                return HttpResponseRedirect(_place(name))
        context = self.page_context(
            request, _("Add a model"), form=form, folders=offered_folders(), licences=LICENCES,
            sources=[str(each) for each in source_folders()], next=self.next_url(request),
        )
        return TemplateResponse(request, "shopgen_django/admin/supplied_add.html", context)

    def look_view(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return self._ask(request, "", lambda: ask_look(user=request.user), _("A worker is asked what is there."))

    def verify_view(self, request: HttpRequest, name: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        said = _("A worker is asked to verify %(name)s.") % {"name": name}
        return self._ask(request, name, lambda: ask_verification(name=name, user=request.user), said)

    def remove_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show what would miss it (GET), then ask a worker to remove it (POST)."""
        if not self.may(request, REMOVE):
            raise PermissionDenied
        if request.method == "POST":
            said = _("A worker is asked to remove %(name)s.") % {"name": name}
            return self._ask(request, name, lambda: self._remove(request, name), said)
        model = _known(name)
        if model.ships:
            raise Http404(name)
        told = dependants_of(name=name, folder=model.folder, sha256=model.sha256)
        context = self.page_context(
            request, _("Remove %(name)s") % {"name": name}, model=model, dependants=dependant_rows(told),
            next=reverse("admin:shopgen_suppliedmodel_changelist"),
        )
        return TemplateResponse(request, "shopgen_django/admin/supplied_remove.html", context)

    def _remove(self, request: HttpRequest, name: str) -> None:
        ask_removal(name=name, user=request.user)
        self.log_deletions(request, SuppliedModel.objects.filter(name=name))

    def _ask(self, request: HttpRequest, name: str, ask: Callable[[], Any], said: str) -> HttpResponse:
        if name:
            _known(name)
        try:
            ask()
        except ShopgenError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, said)
        return HttpResponseRedirect(_place(name))

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


def _listed(request: HttpRequest) -> dict[str, Any]:
    models = all_supplied()
    asked = request_rows(requests()[:SHOWN_REQUESTS], request.user)
    active = any(row["active"] for row in asked)
    return {
        "cards": [card_of(model, request.user) for model in models if not model.ships],
        "shipped": [(model, kind_words(model), licence_words(model)) for model in models if model.ships],
        "asked": asked, "active": active, "warnings": worker_warnings() if active else (),
    }


def _known(name: str) -> Supplied:
    try:
        return get_supplied(name)
    except NotFound as error:
        raise Http404 from error


def _place(name: str) -> str:
    return reverse("admin:shopgen_suppliedmodel_changelist") + (f"#model-{name}" if name else "")
