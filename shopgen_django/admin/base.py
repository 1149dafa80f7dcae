"""What all our admin classes share: bounded lists, rows that machines write, extra pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst

from .pagination import BoundedChangeList, BoundedPaginator


class ShopgenAdmin(admin.ModelAdmin):
    """Base of the admin classes. A subclass lists its extra pages in :meth:`pages`."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    actions_selection_counter = True

    class Media:
        css = {"all": ["shopgen_django/admin/shopgen.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return BoundedChangeList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method == "GET" and (exact := self._exact(request)):
            return HttpResponseRedirect(f"?{exact}")
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def _exact(self, request: HttpRequest) -> str:
        """The query with ``state__exact`` for ``state`` and the like; "" when nothing has to be written otherwise.

        Django filters by both, but with the short name its sidebar says that nothing is filtered.
        """
        short = {name for name in self.list_filter if isinstance(name, str)} & request.GET.keys()
        short = {name for name in short if getattr(self.opts.get_field(name), "choices", None)}
        if not short:
            return ""
        query = request.GET.copy()
        for name in short:
            query[f"{name}__exact"] = query.pop(name)[-1]
        return query.urlencode()

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        """Extra pages as (address below the model's, view, name)."""
        return []

    def get_urls(self) -> list[Any]:
        extra: list[URLPattern] = [
            path(address, self.admin_site.admin_view(view), name=f"shopgen_{name}")
            for address, view, name in self.pages()
        ]
        return [*extra, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may(self, request: HttpRequest, codename: str) -> bool:
        """Whether the user has this permission of the app."""
        return bool(request.user.has_perm(f"shopgen.{codename}"))

    def page_context(self, request: HttpRequest, title: object, **extra: Any) -> dict[str, Any]:
        """Context of a page of our own."""
        return {
            **self.admin_site.each_context(request), "opts": self.opts, "title": title, "media": self.media, **extra
        }

    def back(self, request: HttpRequest, fallback: str = "") -> HttpResponse:
        """Redirect to the ``next`` of the request, when it is an address of this site, else to the list."""
        return HttpResponseRedirect(self.next_url(request, fallback))

    def next_url(self, request: HttpRequest, fallback: str = "") -> str:
        wanted = request.POST.get("next") or request.GET.get("next") or ""
        if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
            return wanted
        return fallback or reverse(f"admin:shopgen_{self.opts.model_name}_changelist")


class ReadOnlyAdmin(ShopgenAdmin):
    """Rows that machines write: people look at them."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):
    """Rows below another row, to look at."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
