"""Actions on the shop's own products: a mixin for the shop's ModelAdmin, the same added by itself, and a list of ours.

A shop without a ModelAdmin for its products (Wagtail pages, for example) uses the list at ``products/``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from shopgen_django.catalogues import catalogue_for_model, get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import NotFound, ShopgenError
from shopgen_django.models import ProductImage, TrainingRun
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.intake import submit_import
from shopgen_django.services.trainings import MAX_PRODUCTS as MAX_TRAINED
from shopgen_django.services.trainings import may_start

from .base import ShopgenAdmin
from .picking import usable_catalogues
from .queueing import queue_page
from .subjects import Products
from .training_form import training_page

MAX_PRODUCTS = 200
PER_PAGE = 50


def _keys(request: HttpRequest, rows: models.QuerySet[Any]) -> list[str]:
    keys = [str(key) for key in rows.values_list("pk", flat=True)[: MAX_PRODUCTS + 1]]
    if len(keys) > MAX_PRODUCTS:
        messages.warning(
            request, _("More than %(n)d products are selected; these are the first %(n)d.") % {"n": MAX_PRODUCTS}
        )
    return keys[:MAX_PRODUCTS]


def _train(model_admin: Any, request: HttpRequest, rows: models.QuerySet[Any]) -> HttpResponse | None:
    catalogue = catalogue_for_model(rows.model)
    if catalogue is None:
        messages.error(request, _("No catalogue of SHOPGEN[\"CATALOGUES\"] knows these products."))
        return None
    keys = tuple(str(key) for key in rows.values_list("pk", flat=True)[:MAX_TRAINED])
    return training_page(
        model_admin.admin_site.get_model_admin(TrainingRun), request, alias=catalogue.alias, products=keys,
        came_from=request.get_full_path(), opened=True,
    )


def _open(model_admin: Any, request: HttpRequest, rows: models.QuerySet[Any], what: str) -> HttpResponse | None:
    catalogue = catalogue_for_model(rows.model)
    if catalogue is None:
        messages.error(request, _("No catalogue of SHOPGEN[\"CATALOGUES\"] knows these products."))
        return None
    screens = model_admin.admin_site.get_model_admin(ProductImage)
    came_from = request.get_full_path()
    if what == "import":
        keys = tuple(str(key) for key in rows.values_list("pk", flat=True))
        return import_page(screens, request, Chosen(alias=catalogue.alias, keys=keys), opened=True, came_from=came_from)
    return queue_page(
        screens, request, Products(catalogue.alias, _keys(request, rows)), came_from=came_from,
        address=reverse("admin:shopgen_products_run"), opened=True, preferred=what,
    )


@admin.action(permissions=["shopgen_import"], description=gettext_lazy("Import photos"))
def shopgen_import_photos(model_admin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
    return _open(model_admin, request, queryset, "import")


@admin.action(permissions=["shopgen_submit"], description=gettext_lazy("Generate pictures…"))
def shopgen_generate(model_admin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
    return _open(model_admin, request, queryset, "generate")


@admin.action(permissions=["shopgen_fit"], description=gettext_lazy("Fit to channel sizes…"))
def shopgen_fit(model_admin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
    return _open(model_admin, request, queryset, "fit")


@admin.action(permissions=["shopgen_train"], description=gettext_lazy("Train a model on their photos…"))
def shopgen_train(model_admin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
    return _train(model_admin, request, queryset)


ACTIONS = (shopgen_import_photos, shopgen_generate, shopgen_fit, shopgen_train)


def may_import(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("shopgen.add_productimage"))


def may_submit(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("shopgen.submit_job"))


def may_fit(request: HttpRequest) -> bool:
    """Also whether the operation is installed at all."""
    try:
        get_operation("fit")
    except NotFound:
        return False
    return may_submit(request)


def may_train(request: HttpRequest) -> bool:
    return may_start(request.user)


class ShopgenProductActions:
    """Mixin for the shop's own ModelAdmin: "Import photos", "Generate pictures…", "Fit to channel sizes…", "Train a
    model on their photos…".

    ::

        class ProductAdmin(ShopgenProductActions, admin.ModelAdmin):
            ...

    Only needed with ``SHOPGEN["ADMIN_ACTIONS"] = False``; otherwise the actions are added by themselves.
    """

    def _get_base_actions(self) -> list[Any]:
        have = super()._get_base_actions()  # type: ignore[misc]
        names = {name for _function, name, _text in have}
        own = (self.get_action(function) for function in ACTIONS)  # type: ignore[attr-defined]
        return [*have, *(action for action in own if action[1] not in names)]

    def has_shopgen_import_permission(self, request: HttpRequest) -> bool:
        return may_import(request)

    def has_shopgen_submit_permission(self, request: HttpRequest) -> bool:
        return may_submit(request)

    def has_shopgen_fit_permission(self, request: HttpRequest) -> bool:
        return may_fit(request)

    def has_shopgen_train_permission(self, request: HttpRequest) -> bool:
        return may_train(request)


def attach_actions(site: admin.AdminSite) -> None:
    """Add the actions to the ModelAdmin of every catalogue's products on this site.

    Called when the site builds its URLs: by then every app has registered its admin classes, whatever the order of
    INSTALLED_APPS, and no request has been served. Instances are changed, never the shop's classes.
    """
    if not app_settings.ADMIN_ACTIONS:
        return
    for model, model_admin in list(site._registry.items()):
        if isinstance(model_admin, ShopgenProductActions):
            continue
        try:
            if catalogue_for_model(model) is None:
                continue
        except ImproperlyConfigured:
            continue  # the system checks say what is wrong with the setting
        _attach(model_admin)


def _attach(model_admin: Any) -> None:
    have = list(model_admin.actions or [])
    model_admin.actions = [*have, *(action for action in ACTIONS if action not in have)]
    model_admin.has_shopgen_import_permission = may_import
    model_admin.has_shopgen_submit_permission = may_submit
    model_admin.has_shopgen_fit_permission = may_fit
    model_admin.has_shopgen_train_permission = may_train


class ProductPages:
    """Pages about the shop's products, mixed into the admin of product pictures."""

    product_actions: ClassVar[tuple[Any, ...]] = ACTIONS

    def products_view(self: Any, request: HttpRequest) -> HttpResponse:
        """The products of a catalogue: search, category, and the same actions as on the shop's own list."""
        if not (may_import(request) or may_submit(request) or self.has_view_permission(request)):
            raise PermissionDenied
        aliases = usable_catalogues()
        alias = request.GET.get("catalogue") or (aliases[0] if aliases else "")
        if alias not in aliases:
            raise Http404(alias)
        catalogue = get_catalogue(alias)
        search, category = request.GET.get("q", "").strip(), request.GET.get("category", "")
        page = max(1, int(request.GET["page"])) if request.GET.get("page", "").isdecimal() else 1
        page = min(page, 1000)
        rows = catalogue.products(search=search or None, category=category or None)
        shown = list(islice(rows, (page - 1) * PER_PAGE, page * PER_PAGE + 1))
        context = self.page_context(
            request, _("Products"), products=shown[:PER_PAGE], more=len(shown) > PER_PAGE, page=page, alias=alias,
            aliases=aliases, categories=catalogue.categories(), category=category, search=search,
            may_import=may_import(request), may_submit=may_submit(request), may_fit=may_fit(request),
            may_train=may_train(request),
            here=request.get_full_path(), counts=picture_counts(alias, [product.pk for product in shown]),
        )
        return TemplateResponse(request, "shopgen_django/admin/products.html", context)

    def products_run_view(self: Any, request: HttpRequest) -> HttpResponse:
        """Queue work for chosen products (POST)."""
        subject = _posted_products(request)
        if isinstance(subject, HttpResponse):
            return subject
        if not subject.products:
            messages.warning(request, _("No product is selected. Nothing was queued."))
            return self.back(request, reverse("admin:shopgen_products"))
        return queue_page(
            self, request, subject, address=reverse("admin:shopgen_products_run"),
            opened="shown" not in request.POST, preferred=request.POST.get("run", ""),
        )

    def products_import_view(self: Any, request: HttpRequest) -> HttpResponse:
        """Import the photos of chosen products, or of all that a search finds (POST)."""
        chosen = _posted_choice(request)
        if isinstance(chosen, HttpResponse):
            return chosen
        return import_page(self, request, chosen, opened="confirm" not in request.POST)


def picture_counts(alias: str, keys: list[str]) -> dict[str, int]:
    """How many pictures of ours each product has. One query."""
    rows = ProductImage.objects.filter(catalogue=alias, object_pk__in=keys).order_by().values("object_pk")
    return {row["object_pk"]: row["number"] for row in rows.annotate(number=models.Count("pk"))}


def _posted_products(request: HttpRequest) -> Products | HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    return Products(_posted_alias(request), request.POST.getlist("product")[:MAX_PRODUCTS])


def _posted_alias(request: HttpRequest) -> str:
    alias = request.POST.get("catalogue", "")
    if alias not in usable_catalogues():
        raise Http404(alias)
    return alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Products to import from: these, any number of them, or all on offer that match."""

    alias: str
    keys: tuple[str, ...] = ()
    everything: bool = False
    category: str = ""
    search: str = ""

    @property
    def packed(self) -> str:
        """The keys in one form field: too many for a list with a box for each, and for a field for each."""
        return json.dumps(self.keys) if len(self.keys) > MAX_PRODUCTS else ""


def _posted_choice(request: HttpRequest) -> Chosen | HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    alias = _posted_alias(request)
    if "everything" in request.POST:
        return Chosen(
            alias=alias, everything=True, category=request.POST.get("category", "")[:100],
            search=request.POST.get("q", "").strip()[:100],
        )
    return Chosen(alias=alias, keys=(*request.POST.getlist("product"), *_unpacked(request.POST.get("packed", ""))))


def _unpacked(packed: str) -> Sequence[str]:
    try:
        keys = json.loads(packed or "[]")
    except ValueError:
        return ()
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else ()


def import_page(
    screens: ShopgenAdmin, request: HttpRequest, chosen: Chosen, *, opened: bool, came_from: str = ""
) -> HttpResponse:
    """Ask, then queue the import; workers do it, and the list of its jobs shows how far they are."""
    if not may_import(request):
        raise PermissionDenied
    back = came_from or screens.next_url(request, reverse("admin:shopgen_products"))
    if not (chosen.keys or chosen.everything):
        messages.warning(request, _("No product is selected. Nothing was imported."))
        return screens.back(request, back)
    problem = ""
    if not opened:
        answer = _queue_import(request, chosen)
        if isinstance(answer, HttpResponse):
            return answer
        problem = answer
    listed = () if chosen.packed else Products(chosen.alias, chosen.keys).products
    context = screens.page_context(
        request, _("Import photos"), chosen=chosen, products=listed, problem=problem, next=back,
        number=len(chosen.keys) if chosen.packed else len(listed),
    )
    return TemplateResponse(request, "shopgen_django/admin/import.html", context)


def _queue_import(request: HttpRequest, chosen: Chosen) -> HttpResponse | str:
    """To the list of the import's jobs, or why there are none."""
    user: Any = request.user
    try:
        asked = submit_import(
            catalogue=chosen.alias, products=None if chosen.everything else chosen.keys, category=chosen.category,
            search=chosen.search, user=user,
        )
    except ShopgenError as error:
        return str(error)
    if not asked.is_new:
        messages.info(request, _("This import is under way already; here is how far it is."))
    elif asked.products is None:
        text = _("The import of the catalogue is queued. The photos appear as workers take them in.")
        messages.success(request, text)
    else:
        messages.success(
            request,
            ngettext(
                "The import of the photos of %(n)d product is queued. They appear as workers take them in.",
                "The import of the photos of %(n)d products is queued. They appear as workers take them in.",
                asked.products,
            ) % {"n": asked.products},
        )  # fmt: skip
    return HttpResponseRedirect(reverse("admin:shopgen_job_changelist") + f"?batch={asked.batch}")
