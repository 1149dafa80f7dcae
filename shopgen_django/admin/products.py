"""Actions on the shop's own products: a mixin for the shop's ModelAdmin, the same added by itself, and a list of ours.

A shop without a ModelAdmin for its products (Wagtail pages, for example) uses the list at ``products/``.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from shopgen_django.catalogues import catalogue_for_model, get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import NotFound, ShopgenError
from shopgen_django.models import ProductImage
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.images import import_from_catalogue

from .base import ShopgenAdmin
from .picking import usable_catalogues
from .queueing import queue_page
from .subjects import IMPORT_SECONDS, Products

MAX_PRODUCTS = 200
PER_PAGE = 50


def _keys(request: HttpRequest, rows: models.QuerySet[Any]) -> list[str]:
    keys = [str(key) for key in rows.values_list("pk", flat=True)[: MAX_PRODUCTS + 1]]
    if len(keys) > MAX_PRODUCTS:
        messages.warning(
            request, _("More than %(n)d products are selected; these are the first %(n)d.") % {"n": MAX_PRODUCTS}
        )
    return keys[:MAX_PRODUCTS]


def _open(model_admin: Any, request: HttpRequest, rows: models.QuerySet[Any], what: str) -> HttpResponse | None:
    catalogue = catalogue_for_model(rows.model)
    if catalogue is None:
        messages.error(request, _("No catalogue of SHOPGEN[\"CATALOGUES\"] knows these products."))
        return None
    screens = model_admin.admin_site.get_model_admin(ProductImage)
    subject = Products(catalogue.alias, _keys(request, rows))
    came_from = request.get_full_path()
    if what == "import":
        return import_page(screens, request, subject, opened=True, came_from=came_from)
    return queue_page(
        screens, request, subject, address=reverse("admin:shopgen_products_run"), opened=True, preferred=what,
        came_from=came_from,
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


ACTIONS = (shopgen_import_photos, shopgen_generate, shopgen_fit)


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


class ShopgenProductActions:
    """Mixin for the shop's own ModelAdmin: "Import photos", "Generate pictures…", "Fit to channel sizes…".

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
        """Import the photos of chosen products (POST)."""
        subject = _posted_products(request)
        if isinstance(subject, HttpResponse):
            return subject
        return import_page(self, request, subject, opened="confirm" not in request.POST)


def picture_counts(alias: str, keys: list[str]) -> dict[str, int]:
    """How many pictures of ours each product has. One query."""
    rows = ProductImage.objects.filter(catalogue=alias, object_pk__in=keys).order_by().values("object_pk")
    return {row["object_pk"]: row["number"] for row in rows.annotate(number=models.Count("pk"))}


def _posted_products(request: HttpRequest) -> Products | HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    alias = request.POST.get("catalogue", "")
    if alias not in usable_catalogues():
        raise Http404(alias)
    return Products(alias, request.POST.getlist("product")[:MAX_PRODUCTS])


def import_page(
    screens: ShopgenAdmin, request: HttpRequest, subject: Products, *, opened: bool, came_from: str = ""
) -> HttpResponse:
    """Ask, then import within a time limit; what could not be imported stays on the page with the reason."""
    if not may_import(request):
        raise PermissionDenied
    back = came_from or screens.next_url(request, reverse("admin:shopgen_products"))
    problems: dict[str, str] = {}
    if not subject.products:
        messages.warning(request, _("No product is selected. Nothing was imported."))
        return screens.back(request, back)
    if not opened:
        problems = _import_all(request, subject)
        if not problems:
            return screens.back(request, back)
    tiles = [
        (product, problems.get(product.pk, "")) for product in subject.products if opened or product.pk in problems
    ]
    context = screens.page_context(
        request, _("Import photos"), subject=subject, tiles=tiles, next=back, alias=subject.alias,
    )
    return TemplateResponse(request, "shopgen_django/admin/import.html", context)


def _import_all(request: HttpRequest, subject: Products) -> dict[str, str]:
    until = time.monotonic() + IMPORT_SECONDS
    problems, pictures, products = {}, 0, 0
    for product in subject.products:
        if time.monotonic() > until:
            problems[product.pk] = _("Not imported yet: there were too many for one go. Press the button again.")
            continue
        try:
            found = import_from_catalogue(catalogue=subject.alias, object_pk=product.pk, user=request.user)
        except ShopgenError as error:
            problems[product.pk] = str(error)
            continue
        products += 1
        pictures += len(found)
        if not found:
            problems[product.pk] = _("The product has no picture in the shop.")
    if products:
        messages.success(
            request,
            ngettext("%(n)d photo is imported.", "%(n)d photos are imported.", pictures) % {"n": pictures},
        )
    return problems
