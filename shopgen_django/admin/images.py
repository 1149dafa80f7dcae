"""Product pictures: a list to work through, a page with all that is known of one, and the verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ImageState, ProductImage, Publication, Review
from shopgen_django.services.images import delete_image
from shopgen_django.storage import EXTENSIONS, read_image

from .base import ShopgenAdmin
from .bulk import ask, bulk_view
from .display import badge, measurement_rows, operation_label, parameter_rows, thumb, when
from .filters import CatalogueFilter, CategoryFilter, OperationFilter, by_uuid
from .image_form import ProductImageForm
from .lineage import lineage_of
from .previewing import preview_view
from .products import ProductPages, attach_actions
from .queueing import queue_images
from .search import bounded_search
from .shop_pictures import product_link, shop_picture
from .status import arriving
from .thumbnails import SIZES, picture_response, thumbnail
from .uploading import upload_page
from .verbs import VERBS

MAX_SELECTED = 200
SEEING = ("view_productimage", "change_productimage", "review_productimage", "publish_productimage",
          "withdraw_productimage")  # fmt: skip


def verb_action(name: str) -> Callable[..., Any]:
    """The list's action of a verb: it opens the page that asks."""
    verb = VERBS[name]

    @admin.action(permissions=[name], description=verb.label)
    def action(model_admin: ProductImageAdmin, request: HttpRequest, rows: QuerySet[ProductImage]) -> HttpResponse:
        return ask(model_admin, request, verb, selected(request, rows))

    action.__name__ = f"{name}_pictures"
    return action


def selected(request: HttpRequest, rows: QuerySet[ProductImage]) -> list[UUID]:
    """The chosen pictures' keys. With "select all" the first ones in the list's order, with a word on it."""
    keys = list(rows.values_list("pk", flat=True)[: MAX_SELECTED + 1])
    if len(keys) > MAX_SELECTED:
        messages.warning(
            request, _("More than %(n)d pictures are selected; these are the first %(n)d.") % {"n": MAX_SELECTED}
        )
    return keys[:MAX_SELECTED]


@admin.action(permissions=["submit"], description=gettext_lazy("Run an operation …"))
def run_operation(model_admin: ProductImageAdmin, request: HttpRequest, rows: QuerySet[ProductImage]) -> HttpResponse:
    return queue_images(model_admin, request, selected(request, rows))


@admin.register(ProductImage)
class ProductImageAdmin(ProductPages, ShopgenAdmin):
    """Rows are made by imports and jobs; people write the alt text, assign a product, and decide."""

    form = ProductImageForm
    list_display = ["picture", "product", "state_badge", "category", "made_by", "created"]
    list_display_links = ["product"]
    list_filter = ["state", "kind", CategoryFilter, OperationFilter, CatalogueFilter, "created_at"]
    search_fields = ["product_label", "category", "alt_text"]
    search_help_text = gettext_lazy(
        "How the product’s name begins, a category, or the id of a picture, job or batch; among the newest 2,000 "
        "pictures also any word of name, category or alt text"
    )
    ordering = ["-created_at", "-id"]
    sortable_by = ["created"]
    actions = [*(verb_action(name) for name in VERBS), run_operation]
    fieldsets = [(None, {"fields": ["alt_text", "category", "catalogue", "object_pk"]})]

    # -- who may what -----------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return any(self.may(request, codename) for codename in SEEING)

    def has_delete_permission(self, request: HttpRequest, obj: ProductImage | None = None) -> bool:
        if obj is not None and obj.state == ImageState.PUBLISHED:
            return False
        return super().has_delete_permission(request, obj)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "review_productimage")

    has_reject_permission = has_review_permission = has_approve_permission

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "publish_productimage")

    def has_withdraw_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "withdraw_productimage")

    def has_submit_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "submit_job")

    # -- the list ---------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "warnings": arriving(request.user), "may_add": self.may(request, "add_productimage"),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProductImage]:
        return super().get_queryset(request).defer("params")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        found = by_uuid(search_term, queryset, "job_id", "job__batch")
        if found is None:
            found = bounded_search(
                queryset, search_term, begins=("product_label",), equals=("category",), within=self.search_fields
            )
        return found, False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # files and receipts hang on the rows: one at a time, on its own page
        return actions

    @admin.display(description="")
    def picture(self, image: ProductImage) -> SafeString:
        return thumb(image)

    @admin.display(description=gettext_lazy("product"))
    def product(self, image: ProductImage) -> str | SafeString:
        label = image.product_label or _("no product")
        if image.product_deleted_at is not None:
            return format_html('{} <span class="sg-quiet">({})</span>', label, _("deleted"))
        return label

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, image: ProductImage) -> SafeString:
        return badge(image.state, image.get_state_display())

    @admin.display(description=gettext_lazy("made by"))
    def made_by(self, image: ProductImage) -> SafeString:
        return format_html(
            '{}<br><span class="sg-quiet">{} × {}</span>',
            operation_label(image.operation) or image.get_kind_display(), image.width, image.height,
        )

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def created(self, image: ProductImage) -> SafeString | str:
        return when(image.created_at)

    # -- one picture ------------------------------------------------------------------------------

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        image = kwargs.get("obj")
        if image is not None:
            context.update(self._facts(request, image))
        return super().render_change_form(request, context, *args, **kwargs)

    def _facts(self, request: HttpRequest, image: ProductImage) -> dict[str, Any]:
        verbs = [
            verb for verb in VERBS.values() if image.state in verb.states and self.may(request, verb.permission)
        ]
        publications = Publication.objects.select_related("published_by", "withdrawn_by")
        return {
            "image": image,
            "verbs": verbs,
            "may_run": self.has_submit_permission(request) and image.state != ImageState.REJECTED,
            "product_link": product_link(image),
            "parameters": parameter_rows(image.operation, image.params),
            "operation_label": operation_label(image.operation),
            "measurements": measurement_rows(image),
            "reviews": Review.objects.filter(image=image).select_related("reviewer"),
            "publications": publications.filter(image=image),
            "lineage": lineage_of(image),
        }

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except ShopgenError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:shopgen_productimage_change", args=[object_id]))

    def delete_model(self, request: HttpRequest, obj: ProductImage) -> None:
        delete_image(image=obj, user=request.user)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Withdrawn publications go with the picture; a job that used it keeps it from being deleted."""
        protected = [
            _("%(job)s was made from it") % {"job": job} for image in objs for job in image.used_by.all()[:20]
        ]
        lacking = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return [str(image) for image in objs], {self.opts.verbose_name_plural: len(objs)}, lacking, protected

    # -- pages ------------------------------------------------------------------------------------

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("<uuid:pk>/picture/<slug:size>/<slug:digest>/", self.picture_view, "productimage_picture"),
            ("shop-picture/<str:alias>/", self.shop_picture_view, "shop_picture"),
            ("do/<slug:verb>/", self.bulk_view, "productimage_bulk"),
            ("run/", self.run_view, "productimage_run"),
            ("preview/", preview_view, "preview"),
            ("upload/", self.upload_view, "upload"),
            ("products/", self.products_view, "products"),
            ("products/run/", self.products_run_view, "products_run"),
            ("products/import/", self.products_import_view, "products_import"),
        ]

    def get_urls(self) -> list[Any]:
        attach_actions(self.admin_site)
        return super().get_urls()

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        return upload_page(self, request)

    def bulk_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        return bulk_view(self, request, verb)

    def run_view(self, request: HttpRequest) -> HttpResponse:
        return queue_images(self, request)

    def shop_picture_view(self, request: HttpRequest, alias: str) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return shop_picture(request, alias)

    def picture_view(self, request: HttpRequest, pk: UUID, size: str, digest: str) -> HttpResponse:
        """A stored picture, scaled down ("small", "medium", "large") or as it is ("full")."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        image = ProductImage.objects.filter(pk=pk).only("file", "sha256", "format").first()
        if image is None or not digest or not image.sha256.startswith(digest):
            raise Http404
        try:
            if size in SIZES:
                return picture_response(thumbnail(image, size))
            if size != "full":
                raise Http404
            response = picture_response(read_image(image), content_type=image.content_type_header)
            name = f"{image.pk}.{EXTENSIONS[image.format]}"
            response["Content-Disposition"] = f'inline; filename="{name}"'
            return response
        except ShopgenError as error:
            raise Http404(str(error)) from error
