"""Recipes: the list, and an editor that needs neither JSON nor scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import NotFound, ShopgenError
from shopgen_django.models import ProductImage, Recipe
from shopgen_django.operations.chains import MAX_STEPS
from shopgen_django.operations.recipe import BUILT_IN
from shopgen_django.services.recipes import (
    all_recipes,
    create_recipe,
    delete_recipe,
    get_recipe,
    read_json,
    update_recipe,
)

from .base import ShopgenAdmin
from .picture_choice import offer_pictures
from .queueing import NAMED
from .recipe_steps import Steps, in_words, step_operations

TRIED = 24
MAX_FILE = 1_000_000


class RecipeForm(forms.Form):
    """What a recipe is called."""

    label = forms.CharField(
        label=gettext_lazy("Label"), max_length=100, help_text=gettext_lazy("What people read in lists."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    name = forms.SlugField(
        label=gettext_lazy("Name"), max_length=64, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Short, for commands and HTTP: letters, digits, hyphens. It can't be changed later."),
    )
    description = forms.CharField(
        label=gettext_lazy("Description"), max_length=1000, required=False,
        widget=forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"}),
    )


class ImportForm(forms.Form):
    file = forms.FileField(label=gettext_lazy("File"), help_text=gettext_lazy("A recipe as JSON, as it is exported."))


@admin.register(Recipe)
class RecipeAdmin(ShopgenAdmin):
    """Everybody's recipes; each verb has Django's own permission for it."""

    list_display = ["label", "name", "steps_text", "version", "updated_at", "links"]
    search_fields = ["name", "label"]
    ordering = ["label", "name"]
    sortable_by = ["label", "name", "updated_at"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "add_recipe")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return any(self.may(request, f"{verb}_recipe") for verb in ("view", "change", "add")) or self.may(
            request, "submit_job"
        )

    @admin.display(description=gettext_lazy("steps"))
    def steps_text(self, row: Recipe) -> str:
        names = {operation.name: str(operation.label) for operation in step_operations()}
        return " → ".join(names.get(step.get("operation"), f"{step.get('operation')} ?") for step in row.steps)

    @admin.display(description="")
    def links(self, row: Recipe) -> SafeString:
        return format_html(
            '<a href="{}">{}</a> · <a href="{}">{}</a>', reverse("admin:shopgen_recipe_try", args=[row.name]),
            _("Try it"), reverse("admin:shopgen_recipe_export", args=[row.name]), _("Export"),
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        built_in = [(recipe, in_words(recipe.steps)) for recipe in all_recipes() if recipe.built_in]
        extra = {"built_in": built_in, "may_add": self.has_add_permission(request)}
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def delete_model(self, request: HttpRequest, obj: Recipe) -> None:
        delete_recipe(recipe=obj, user=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            delete_recipe(recipe=row, user=request.user)

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("import/", self.import_view, "recipe_import"),
            ("<slug:name>/export/", self.export_view, "recipe_export"),
            ("<slug:name>/try/", self.try_view, "recipe_try"),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._edit(request, None)
        initial, steps = {}, Steps()
        if copied := request.GET.get("copy"):
            recipe = self._recipe(copied)
            initial = {"label": _("%(label)s (copy)") % {"label": recipe.label}, "description": recipe.description,
                       "name": f"{recipe.name}-copy"[:64]}  # fmt: skip
            steps = Steps.stored(recipe.as_dict()["steps"])
        return self._page(request, None, RecipeForm(initial=initial), steps)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            if not self.has_change_permission(request):
                raise PermissionDenied
            return self._edit(request, row)
        values = {"label": row.label, "name": row.name, "description": row.description}
        return self._page(request, row, _form(row, initial=values), Steps.stored(row.steps))

    def _edit(self, request: HttpRequest, row: Recipe | None) -> HttpResponse:
        """One press of a button: a step is added, moved or removed, or all is saved."""
        form, steps = _form(row, request.POST), Steps.posted(request.POST)
        if not {"save", "try"} & request.POST.keys():
            return self._page(request, row, form, steps, touched=steps.press(request.POST))
        plain, good = steps.checked(), form.is_valid()
        if plain is None or not good:
            return self._page(request, row, form, steps, touched=steps.first_wrong if good else None)
        try:
            saved = self._save(request, row, form.cleaned_data, plain)
        except ShopgenError as error:
            own = {name: texts for name, texts in error.fields.items() if name in form.fields}
            for name, texts in own.items():
                form.add_error(name, [str(text) for text in texts])
            if not own:
                steps.problems.append(str(error))
            return self._page(request, row, form, steps)
        messages.success(request, _("The recipe %(label)s is saved.") % {"label": saved})
        if "try" in request.POST:
            return HttpResponseRedirect(reverse("admin:shopgen_recipe_try", args=[saved.name]))
        return self.back(request)

    def _save(self, request: HttpRequest, row: Recipe | None, values: dict[str, Any], steps: list[Any]) -> Recipe:
        words = {"label": values["label"], "description": values["description"], "steps": steps, "user": request.user}
        if row is None:
            saved = create_recipe(name=values["name"], **words).row
            assert saved is not None
            self.log_addition(request, saved, [{"added": {}}])
            return saved
        seen = request.POST.get("version", "")
        saved = update_recipe(recipe=row, version=int(seen) if seen.isdecimal() and len(seen) < 10 else 0, **words).row
        assert saved is not None
        self.log_change(request, saved, _("Changed to version %(n)d.") % {"n": saved.version})
        return saved

    def _page(
        self, request: HttpRequest, row: Recipe | None, form: forms.Form, steps: Steps, *, touched: int | None = None
    ) -> HttpResponse:
        may_change = self.has_add_permission(request) if row is None else self.has_change_permission(request)
        # The version that the person has seen: a page sent back and forth keeps it.
        version = request.POST.get("version") or (row.version if row else 0)
        for step in steps.forms:
            offer_pictures(step.form, request)
        context = self.page_context(
            request, row.label if row else _("New recipe"), recipe=row, form=form, steps=steps, touched=touched,
            choices=step_operations(), most=MAX_STEPS, version=version, may_change=may_change,
            may_delete=row is not None and self.has_delete_permission(request), next=self.next_url(request),
        )
        return TemplateResponse(request, "shopgen_django/admin/recipe.html", context)

    def _recipe(self, name: str) -> Any:
        try:
            return get_recipe(name)
        except NotFound as error:
            raise Http404 from error

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A file becomes the editor's page, where it is looked at, named and saved."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                recipe = read_json(_text(form.cleaned_data["file"]), name=form.cleaned_data["file"].name)
            except ShopgenError as error:
                form.add_error("file", str(error))
            else:
                words = {"label": recipe.label, "name": recipe.name, "description": recipe.description}
                return self._page(request, None, RecipeForm(initial=words), Steps.stored(recipe.as_dict()["steps"]))
        context = self.page_context(request, _("Import a recipe"), form=form, next=self.next_url(request))
        return TemplateResponse(request, "shopgen_django/admin/recipe_import.html", context)

    def export_view(self, request: HttpRequest, name: str) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        content = json.dumps(self._recipe(name).as_dict(), ensure_ascii=False, indent=2, default=str) + "\n"
        return HttpResponse(content, content_type="application/json", headers={
            "Content-Disposition": f'attachment; filename="{name}.json"', "X-Content-Type-Options": "nosniff",
        })  # fmt: skip

    def try_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Choose a picture; the page that queues work opens with this recipe."""
        if not self.may(request, "submit_job"):
            raise PermissionDenied
        recipe = self._recipe(name)
        pictures = ProductImage.objects.visible_to(request.user).sources().order_by("-created_at", "-id")[:TRIED]
        context = self.page_context(
            request, _("Try %(recipe)s") % {"recipe": recipe.label}, recipe=recipe, pictures=pictures,
            steps=in_words(recipe.steps), chosen=NAMED + name, built_in=name in BUILT_IN and recipe.built_in,
            next=reverse("admin:shopgen_recipe_changelist"),
        )
        return TemplateResponse(request, "shopgen_django/admin/recipe_try.html", context)


def _form(row: Recipe | None, data: Any = None, initial: Any = None) -> RecipeForm:
    form = RecipeForm(data, initial=initial)
    if row is not None:
        form.fields["name"].disabled = True
        form.initial.setdefault("name", row.name)
    return form


def _text(file: Any) -> str:
    if file.size > MAX_FILE:
        return "{"  # told as JSON that is not valid: no recipe is that long
    return str(file.read().decode("utf-8", errors="replace"))
