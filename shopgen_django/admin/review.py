"""The review desk: one picture at a time beside what it was made from, or many at once; the next comes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidState, ShopgenError
from shopgen_django.models import ImageState, ProductImage, Review
from shopgen_django.models.counts import capped_count
from shopgen_django.services.review import approve, reject

from .base import ReadOnlyAdmin
from .bulk import chosen_keys
from .display import badge, measurement_rows, operation_label, parameter_rows, thumb
from .filters import distinct_values
from .reasons import PRESET_REASONS, RejectForm
from .search import bounded_search
from .shop_pictures import product_link, shop_now
from .status import MAX_COUNT, counted
from .verbs import VERBS

GRID = 24
VERDICTS = ("approve", "reject")
TINY = 160
"""Pictures up to this side are shown less enlarged: blown up they tell nothing."""
FILTERS = ("category", "operation", "job")


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    """Its list is the review desk; what was decided lies under "decisions"."""

    list_display = ["picture", "image", "decision_badge", "reason", "reviewer", "created_at"]
    list_display_links = None
    list_filter = ["decision", "created_at"]
    list_select_related = ["image", "reviewer"]
    search_fields = ["reason", "image__product_label"]
    search_help_text = gettext_lazy(
        "How the product’s name begins; among the newest 2,000 decisions also any word of reason or name"
    )
    ordering = ["-created_at", "-id"]
    sortable_by = ["created_at"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "review_productimage") or self.may(request, "view_review")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        begins = ("image__product_label",)
        return bounded_search(queryset, search_term, begins=begins, within=("reason", *begins)), False

    @admin.display(description="")
    def picture(self, review: Review) -> Any:
        return thumb(review.image)

    @admin.display(description=gettext_lazy("decision"))
    def decision_badge(self, review: Review) -> Any:
        return badge(review.decision, review.get_decision_display())

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("decide/<uuid:pk>/", self.decide_view, "review_decide"),
            ("grid/", self.grid_view, "review_grid"),
            ("decisions/", self.decisions_view, "review_decisions"),
        ]

    def decisions_view(self, request: HttpRequest) -> HttpResponse:
        """The plain list of what was decided."""
        return super().changelist_view(request, {"title": _("Decisions")})

    # -- one at a time ----------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The desk (``?image=`` names a picture, ``?category=``, ``?operation=`` and ``?job=`` narrow down)."""
        if not self.may(request, "review_productimage"):
            return self.decisions_view(request) if self.has_view_permission(request) else self._refuse()
        return self.desk(request)

    def desk(self, request: HttpRequest, form: RejectForm | None = None, image: Any = None) -> HttpResponse:
        waiting = waiting_rows(request)
        image = _placed(ProductImage.objects.all(), waiting, image.pk) if image else _asked_for(request, waiting)
        number = image.waiting_count if image is not None else 0
        context = {**self._frame(request, number), "image": image, "mode": "single"}
        if image is not None:
            context |= {
                "before": _beside(image.before_id), "after": _beside(image.after_id, image.after_sha256),
                "form": form or RejectForm(), "presets": PRESET_REASONS, **_facts(image),
            }
        return TemplateResponse(request, "shopgen_django/admin/review.html", context)

    def decide_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Approve or reject one picture, then show the next one that waits."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, "review_productimage"):
            self._refuse()
        image = ProductImage.objects.filter(pk=pk).first()
        if image is None:
            messages.warning(request, _("The picture has been deleted meanwhile. Here is the next one."))
            return HttpResponseRedirect(desk_url(request))
        after = following(waiting_rows(request), image)
        verdict = request.POST.get("verdict", "")
        if verdict not in VERDICTS:
            return HttpResponseBadRequest()
        form = RejectForm(request.POST)
        if verdict == "reject" and not form.is_valid():
            return self.desk(request, form, image)
        try:
            self._decide(request, image, verdict, form.cleaned_data["reason"] if verdict == "reject" else "")
        except InvalidState:
            messages.warning(
                request,
                _("Somebody else was faster: %(picture)s is already %(state)s. Here is the next one.")
                % {"picture": image, "state": image.get_state_display()},
            )
        except ShopgenError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(desk_url(request, after))

    def _decide(self, request: HttpRequest, image: ProductImage, verdict: str, reason: str) -> None:
        verb = VERBS[verdict]
        if verdict == "reject":
            reject(image=image, user=request.user, reason=reason)
            told = _("Rejected: %(picture)s (%(reason)s)") % {"picture": image, "reason": reason}
        else:
            approve(image=image, user=request.user)
            told = _("Approved: %(picture)s") % {"picture": image}
        self.log_change(request, image, str(verb.log) % {"reason": reason})
        messages.success(request, told)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Logged as a change of the picture, which is what people look up."""
        return self.admin_site.get_model_admin(ProductImage).log_change(request, obj, message)

    # -- many at once -----------------------------------------------------------------------------

    def grid_view(self, request: HttpRequest) -> HttpResponse:
        """Twenty-four pictures; the chosen ones are approved, or rejected with one reason."""
        if not self.may(request, "review_productimage"):
            self._refuse()
        form, chosen, problems = RejectForm(), set(), {}
        if request.method == "POST":
            keys = chosen_keys(request.POST.getlist("pk"))[:GRID]
            verdict = request.POST.get("verdict", "")
            if verdict not in VERDICTS:
                return HttpResponseBadRequest()
            if verdict == "reject":
                form = RejectForm(request.POST)
            if not keys:
                messages.warning(request, _("No picture is selected. Nothing was changed."))
            elif verdict == "approve" or form.is_valid():
                reason = form.cleaned_data["reason"] if verdict == "reject" else ""
                problems = self._decide_all(request, keys, verdict, reason)
                if not problems:
                    return HttpResponseRedirect(request.get_full_path())
            chosen = set(keys)
        waiting = waiting_rows(request)
        tiles = [(image, image.pk in chosen, problems.get(image.pk, "")) for image in waiting[:GRID]]
        context = {**self._frame(request, counted(waiting.order_by())), "mode": "grid", "tiles": tiles, "form": form,
                   "presets": PRESET_REASONS, "chosen": len(chosen)}  # fmt: skip
        return TemplateResponse(request, "shopgen_django/admin/review_grid.html", context)

    def _decide_all(self, request: HttpRequest, keys: list[UUID], verdict: str, reason: str) -> dict[UUID, str]:
        verb = VERBS[verdict]
        done, problems = 0, {}
        for image in ProductImage.objects.filter(pk__in=keys):
            try:
                verb.act(image, request.user, {"reason": reason})
            except ShopgenError as error:
                problems[image.pk] = str(error)
                messages.warning(request, f"{image}: {error}")
            else:
                done += 1
                self.log_change(request, image, str(verb.log) % {"reason": reason})
        if done:
            messages.success(request, verb.done(done))
        return problems

    # -- shared -----------------------------------------------------------------------------------

    def _frame(self, request: HttpRequest, number: int) -> dict[str, Any]:
        title = _("%(n)d pictures are waiting for review") % {"n": number}
        if number >= MAX_COUNT:
            title = _("More than %(n)d pictures are waiting for review") % {"n": MAX_COUNT}
        elif number == 1:
            title = _("One picture is waiting for review")
        elif number == 0:
            title = _("No picture is waiting for review")
        categories = distinct_values(ProductImage.objects.all(), "category")
        return self.page_context(
            request, title, waiting=number, filters=_filters(request), categories=categories,
            filter_query=filter_query(request), category=request.GET.get("category", ""),
        )

    def _refuse(self) -> HttpResponse:
        raise PermissionDenied


def _filters(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET[name] for name in FILTERS if request.GET.get(name)}


def filter_query(request: HttpRequest) -> str:
    """The narrowing part of the address, "" or "category=dress"."""
    return urlencode(_filters(request))


def waiting_rows(request: HttpRequest) -> QuerySet[ProductImage]:
    """Pictures that wait, the oldest first, narrowed down as the address says."""
    filters = _filters(request)
    keys = chosen_keys([filters["job"]]) if "job" in filters else []
    rows = ProductImage.objects.waiting()
    if "job" in filters:
        rows = rows.filter(job__in=keys)
    return rows.filter(**{name: value for name, value in filters.items() if name != "job"})


def with_place(rows: QuerySet[ProductImage], waiting: QuerySet[ProductImage]) -> QuerySet[ProductImage]:
    """``rows``, each with its place in the queue: ``before_id``, ``after_id``, ``after_sha256``, ``waiting_count``, and
    with ``has_parents``.

    Sought in the index from the picture's own place on, so that the cost does not grow with the queue.
    """
    here = OuterRef("created_at")
    older = waiting.filter(created_at__lte=here).filter(Q(created_at__lt=here) | Q(id__lt=OuterRef("pk")))
    newer = waiting.filter(created_at__gte=here).filter(Q(created_at__gt=here) | Q(id__gt=OuterRef("pk")))
    before, after = older.order_by("-created_at", "-id"), newer.order_by("created_at", "id")
    return rows.annotate(
        before_id=Subquery(before.values("pk")[:1]), after_id=Subquery(after.values("pk")[:1]),
        after_sha256=Subquery(after.values("sha256")[:1]), waiting_count=capped_count(waiting, MAX_COUNT),
        has_parents=Exists(ProductImage.parents.through.objects.filter(from_productimage_id=OuterRef("pk"))),
    ).select_related("model_version")


def following(waiting: QuerySet[ProductImage], image: ProductImage) -> ProductImage | None:
    """The waiting picture after this one."""
    newer = Q(created_at__gt=image.created_at) | Q(id__gt=image.pk)
    return waiting.filter(newer, created_at__gte=image.created_at).first()


def _placed(rows: QuerySet[ProductImage], waiting: QuerySet[ProductImage], pk: UUID) -> Any:
    return with_place(rows, waiting).filter(pk=pk).first()


def _beside(pk: UUID | None, sha256: str = "") -> ProductImage | None:
    """What the page needs of a neighbour: its address, and that of the next one's file, which is fetched ahead."""
    return ProductImage(pk=pk, sha256=sha256) if pk else None


def desk_url(request: HttpRequest, image: ProductImage | None = None) -> str:
    """The desk with this picture (or the oldest one), narrowed down as before."""
    query = {**_filters(request), **({"image": str(image.pk)} if image is not None else {})}
    return reverse("admin:shopgen_review_changelist") + (f"?{urlencode(query)}" if query else "")


def _asked_for(request: HttpRequest, waiting: QuerySet[ProductImage]) -> Any:
    keys = chosen_keys([request.GET.get("image", "")])
    if keys:
        image = _placed(ProductImage.objects.all(), waiting, keys[0])
        if image is not None and image.state == ImageState.IN_REVIEW:
            return image
        if image is not None:
            messages.info(
                request,
                _("%(picture)s is %(state)s and no longer waits. Here is the next one.")
                % {"picture": image, "state": image.get_state_display()},
            )
            if image.after_id:
                return _placed(waiting, waiting, image.after_id)
    return with_place(waiting, waiting).first()


def _facts(image: Any) -> dict[str, Any]:
    parents = list(image.parents.defer("params").order_by("created_at")[:6]) if image.has_parents else []
    return {
        "parents": parents,
        # Made from nothing but a model: the product as customers see it now is what to compare with.
        "now": shop_now(image) if not parents and image.has_product else None,
        "tiny": max(image.width, image.height) <= TINY,
        "measurements": measurement_rows(image),
        "parameters": parameter_rows(image.operation, image.params),
        "operation_label": operation_label(image.operation),
        "product_link": product_link(image),
        "previous": image.reviews.select_related("reviewer"),
        "model": image.model_version,
    }
