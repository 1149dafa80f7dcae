"""Proposed texts: read beside the photo and what the shop says now, changed in place, decided product by product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from shopgen_django.catalogues.base import WithdrawOutcome
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ProductImage, TextKind, TextState, TextSuggestion
from shopgen_django.operations.describe import LABELS
from shopgen_django.services.texts import (
    LONGEST,
    approve_text,
    publish_text,
    reject_text,
    reopen_text,
    text_now,
    withdraw_text,
)

from .base import ReadOnlyAdmin
from .bulk import chosen_keys
from .display import badge, thumb
from .search import bounded_search
from .shop_pictures import product_link
from .status import MAX_COUNT, counted

AT_ONCE = 200
NAMES: dict[str, Any] = {str(kind): label for kind, label in LABELS.items()}
ORDER = tuple(NAMES)
TAKE, REJECT, LATER = "take", "reject", "later"
REASONS = (
    gettext_lazy("Says what is not true"), gettext_lazy("Says what the photo does not show"),
    gettext_lazy("Wrong tone or language"), gettext_lazy("What the shop says now is better"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One text on the desk."""

    row: TextSuggestion
    label: str
    now: str | None
    choice: str
    longest: int
    lines: int
    problem: str = ""


@admin.register(TextSuggestion)
class TextSuggestionAdmin(ReadOnlyAdmin):
    """Its list is the desk; all texts lie under "all"."""

    list_display = ["picture", "product", "kind_label", "state_badge", "start", "doubt_mark", "language", "created_at"]
    list_display_links = ["start"]
    list_filter = ["state", "kind", "language", "created_at"]
    list_select_related = ["image"]
    search_fields = ["product_label", "text"]
    search_help_text = gettext_lazy(
        "How the product’s name begins; among the newest 2,000 texts also any of their words"
    )
    ordering = ["-created_at", "-id"]
    sortable_by = ["created_at"]
    actions = ["publish", "withdraw"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "review_textsuggestion") or self.may(request, "view_textsuggestion")

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "publish_textsuggestion")

    def has_withdraw_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "withdraw_textsuggestion")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        begins = ("product_label",)
        return bounded_search(queryset, search_term, begins=begins, within=("text", *begins)), False

    def pages(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            ("decide/", self.decide_view, "textsuggestion_decide"),
            ("all/", self.all_view, "textsuggestion_all"),
            ("<uuid:pk>/verb/<slug:verb>/", self.verb_view, "textsuggestion_verb"),
        ]

    # -- columns ----------------------------------------------------------------------------------

    @admin.display(description="")
    def picture(self, row: TextSuggestion) -> Any:
        return thumb(row.image) if row.image is not None else ""

    @admin.display(description=gettext_lazy("product"))
    def product(self, row: TextSuggestion) -> str:
        return row.product_label or "—"

    @admin.display(description=gettext_lazy("kind"))
    def kind_label(self, row: TextSuggestion) -> str:
        return str(row.get_kind_display())

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, row: TextSuggestion) -> Any:
        return badge(row.state, row.get_state_display())

    @admin.display(description=gettext_lazy("text"))
    def start(self, row: TextSuggestion) -> str:
        return Truncator(", ".join(row.tags) if row.kind == TextKind.TAGS else row.text).chars(90)

    @admin.display(description=gettext_lazy("to be looked at"))
    def doubt_mark(self, row: TextSuggestion) -> str:
        return " ".join(str(doubt) for doubt in row.doubts) or "—"

    # -- pages ------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The desk (``?text=`` names one of its texts), for those who may decide; else the list."""
        if request.method == "POST" or request.GET.keys() - {"text", "after"}:
            return self.all_view(request)
        if not self.may(request, "review_textsuggestion"):
            return self.all_view(request)
        return self.desk(request)

    def all_view(self, request: HttpRequest) -> HttpResponse:
        """The plain list."""
        return super().changelist_view(request, {"title": _("All proposed texts")})

    def desk(
        self, request: HttpRequest, group: Sequence[TextSuggestion] = (), problems: dict[UUID, str] | None = None
    ) -> HttpResponse:
        group = list(group) or _group(request)
        number = counted(TextSuggestion.objects.waiting().order_by())
        context = self.page_context(request, _title(number), mode="desk", waiting=number, group=group)
        if group:
            first = group[0]
            context |= {
                "entries": [_entry(request, row, (problems or {}).get(row.pk, "")) for row in group],
                "pictures": _pictures(first), "product_link": product_link(first), "first": first,
                "after": _following(group), "reasons": REASONS, "facts": _facts(first),
                "may_publish": self.has_publish_permission(request) and any(_has_place(row) for row in group),
            }
        return TemplateResponse(request, "shopgen_django/admin/texts.html", context)

    def decide_view(self, request: HttpRequest) -> HttpResponse:
        """Decide on the texts of one product as their choices say; then the next product."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, "review_textsuggestion"):
            raise PermissionDenied
        keys = chosen_keys(request.POST.getlist("pk"))[:AT_ONCE]
        rows = {row.pk: row for row in TextSuggestion.objects.filter(pk__in=keys).select_related("image")}
        group = [rows[key] for key in keys if key in rows]
        after = request.POST.get("after", "")
        publish = "publish" in request.POST and self.has_publish_permission(request)
        problems: dict[UUID, str] = {}
        for row in group:
            try:
                self._decide(request, row, publish=publish)
            except ShopgenError as error:
                problems[row.pk] = str(error)
        if problems:
            left = [row for row in group if row.pk in problems and row.state == TextState.IN_REVIEW]
            for row in group:
                if row.pk in problems and row not in left:
                    messages.warning(request, f"{row.get_kind_display()}: {problems[row.pk]}")
            if left:
                return self.desk(request, left, problems)
        return HttpResponseRedirect(desk_url(after))

    def _decide(self, request: HttpRequest, row: TextSuggestion, *, publish: bool) -> None:
        choice, text = request.POST.get(f"choice-{row.pk}", LATER), request.POST.get(f"text-{row.pk}")
        user: Any = request.user
        name = f"{row.get_kind_display()} ({row.product_label or row.image_id})"
        if choice == REJECT:
            reason = request.POST.get("reason", "").strip() or request.POST.get("preset", "")
            reject_text(suggestion=row, user=user, reason=reason)
            self.log_change(request, row, _("Rejected: %(reason)s") % {"reason": reason})
            messages.success(request, _("Rejected: %(picture)s (%(reason)s)") % {"picture": name, "reason": reason})
        elif choice == TAKE:
            approve_text(suggestion=row, user=user, text=text)
            self.log_change(request, row, _("Approved."))
            if not publish:
                messages.success(request, _("Approved: %(picture)s") % {"picture": name})
                return
            publish_text(suggestion=row, user=user)
            self.log_change(request, row, _("Put into the shop."))
            messages.success(request, _("Put into the shop: %(text)s") % {"text": name})

    def verb_view(self, request: HttpRequest, pk: UUID, verb: str) -> HttpResponse:
        """One verb on one text, from its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = TextSuggestion.objects.filter(pk=pk).first()
        act = {"publish": publish_text, "withdraw": withdraw_text, "reopen": reopen_text}.get(verb)
        if row is None or act is None:
            return self.back(request)
        try:
            act(suggestion=row, user=request.user)
        except ShopgenError as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, row, str(row.get_state_display()))
            messages.success(request, f"{row.get_kind_display()}: {row.get_state_display()}")
            self._tell_outcome(request, row)
        return HttpResponseRedirect(reverse("admin:shopgen_textsuggestion_change", args=[pk]))

    def _tell_outcome(self, request: HttpRequest, row: TextSuggestion) -> None:
        outcome = row.withdraw_outcome
        if row.state == TextState.WITHDRAWN and outcome in WithdrawOutcome.values:
            messages.info(request, str(WithdrawOutcome(outcome).label))

    @admin.action(permissions=["publish"], description=gettext_lazy("Put into the shop"))
    def publish(self, request: HttpRequest, queryset: Any) -> None:
        self._all(request, queryset, publish_text, lambda n: ngettext(
            "%(n)d text now stands in the shop.", "%(n)d texts now stand in the shop.", n) % {"n": n})  # fmt: skip

    @admin.action(permissions=["withdraw"], description=gettext_lazy("Take back from the shop"))
    def withdraw(self, request: HttpRequest, queryset: Any) -> None:
        self._all(request, queryset, withdraw_text, lambda n: ngettext(
            "%(n)d text was taken back.", "%(n)d texts were taken back.", n) % {"n": n})  # fmt: skip

    def _all(self, request: HttpRequest, queryset: Any, act: Callable[..., Any], told: Callable[[int], str]) -> None:
        done = 0
        for row in queryset[:AT_ONCE]:
            try:
                act(suggestion=row, user=request.user)
            except ShopgenError as error:
                messages.warning(request, f"{row}: {error}")
            else:
                done += 1
                self.log_change(request, row, str(row.get_state_display()))
        if done:
            messages.success(request, told(done))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None:
            state = row.state
            context.update(
                row=row, state_badge=badge(state, row.get_state_display()), now=text_now(row),
                pictures=_pictures(row), product_link=product_link(row), facts=_facts(row),
                may_publish=self.has_publish_permission(request) and state == TextState.APPROVED and _has_place(row),
                may_withdraw=self.has_withdraw_permission(request) and state == TextState.PUBLISHED,
                may_reopen=self.may(request, "review_textsuggestion")
                and state in (TextState.APPROVED, TextState.REJECTED, TextState.WITHDRAWN),
                may_review=self.may(request, "review_textsuggestion") and state == TextState.IN_REVIEW,
            )  # fmt: skip
        return super().render_change_form(request, context, *args, **kwargs)


def desk_url(text: str = "") -> str:
    """The desk, beginning with the product of this text."""
    query = f"?{urlencode({'text': text})}" if text else ""
    return reverse("admin:shopgen_textsuggestion_changelist") + query


def _title(number: int) -> str:
    if number >= MAX_COUNT:
        return _("More than %(n)d texts are waiting to be read") % {"n": MAX_COUNT}
    if not number:
        return _("No text is waiting to be read")
    return ngettext("%(n)d text is waiting to be read", "%(n)d texts are waiting to be read", number) % {"n": number}


def _group(request: HttpRequest) -> list[TextSuggestion]:
    """The waiting texts of one job: of the one that the address names a text of, else of the oldest."""
    keys = chosen_keys([request.GET.get("text", "")])
    waiting = TextSuggestion.objects.waiting()
    first = (waiting.filter(pk=keys[0]).first() if keys else None) or waiting.first()
    if first is None:
        return []
    rows = waiting.filter(job=first.job_id) if first.job_id else waiting.filter(pk=first.pk)
    return sorted(rows.select_related("image"), key=lambda row: ORDER.index(row.kind))


def _following(group: Sequence[TextSuggestion]) -> str:
    """A text of the product after this one; "" when there is none."""
    last = max(group, key=lambda row: (row.created_at, row.pk))
    rows = TextSuggestion.objects.waiting().filter(created_at__gte=last.created_at)
    rows = rows.exclude(job=last.job_id) if last.job_id else rows.exclude(pk=last.pk)
    found = rows.values_list("pk", flat=True).first()
    return str(found) if found else ""


def _entry(request: HttpRequest, row: TextSuggestion, problem: str) -> Entry:
    """What a person reads; a doubtful text is not taken unless somebody says so."""
    posted = request.POST.get(f"text-{row.pk}")
    if posted is not None:
        row.text = posted
    choice = request.POST.get(f"choice-{row.pk}", LATER if row.doubts else TAKE)
    return Entry(
        row=row, label=str(NAMES[row.kind]), now=text_now(row), choice=choice, longest=LONGEST[row.kind],
        lines=min(14, max(2, len(row.text) // 60 + row.text.count("\n") + 1)), problem=problem,
    )


def _facts(row: TextSuggestion) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), str(value)) for name, value in sorted(row.facts.items())]


def _pictures(row: TextSuggestion) -> list[ProductImage]:
    """All that the model was shown."""
    if row.job is not None:
        return [each.image for each in row.job.job_inputs.select_related("image").order_by("position")[:8]]
    return [row.image] if row.image is not None else []


def _has_place(row: TextSuggestion) -> bool:
    return row.has_product or (row.kind == TextKind.ALT_TEXT and row.image_id is not None)
