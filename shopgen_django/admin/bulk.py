"""One page for all verbs: lists what will happen, asks once, tells what happened, keeps what did not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.exceptions import NotAllowed, ShopgenError
from shopgen_django.models import ImageState, ProductImage

from .shop_pictures import ShopNow, shop_now
from .verbs import VERBS, Verb

if TYPE_CHECKING:
    from .images import ProductImageAdmin


TOLD_SINGLY = 10
"""Up to so many pictures, good news is told for each; warnings always are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One picture on the page. ``problem``: why nothing will happen, or did not happen, to it."""

    image: ProductImage
    problem: str = ""
    checked: bool = True
    now: ShopNow | None = None


def bulk_view(model_admin: ProductImageAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """Ask (POST with the pictures), then act (POST with ``confirm``). Never by GET."""
    verb = VERBS.get(name)
    if verb is None:
        raise Http404(name)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not model_admin.may(request, verb.permission):
        raise PermissionDenied
    keys = chosen_keys(request.POST.getlist("pk"))
    if not keys:
        messages.warning(request, _("No picture is selected. Nothing was changed."))
        return model_admin.back(request)
    if "confirm" not in request.POST:
        return ask(model_admin, request, verb, keys)
    form = verb.form(request.POST)
    if not form.is_valid():
        return ask(model_admin, request, verb, keys, form=form)
    return _act(model_admin, request, verb, keys, form)


def chosen_keys(values: Iterable[str]) -> list[UUID]:
    """The ids among ``values``, each once, in their order."""
    keys: dict[UUID, None] = {}
    for value in values:
        try:
            keys[UUID(value)] = None
        except ValueError:
            continue
    return list(keys)


def ask(
    model_admin: ProductImageAdmin,
    request: HttpRequest,
    verb: Verb,
    keys: list[UUID],
    *,
    form: Any = None,
    problems: dict[UUID, str] | None = None,
) -> HttpResponse:
    """The page before anything happens (or after some of it did not)."""
    found = ProductImage.objects.in_bulk(keys[: verb.limit])
    problems = problems or {}
    tiles = []
    for key in keys[: verb.limit]:
        image = found.get(key)
        if image is None:
            continue
        problem = problems.get(key) or _unfit(image, verb)
        fits = not problem or key in problems
        tiles.append(
            Tile(
                image=image, problem=problem, checked=fits and image.state in verb.states,
                now=shop_now(image) if verb.name == "publish" and fits else None,
            )
        )
    fitting = sum(tile.checked for tile in tiles)
    context = model_admin.page_context(
        request, verb.title, verb=verb, tiles=tiles, form=form or verb.form(), fitting=fitting,
        button=verb.button(fitting), left_over=max(0, len(keys) - verb.limit), next=model_admin.next_url(request),
    )
    return TemplateResponse(request, "shopgen_django/admin/bulk.html", context)


def _unfit(image: ProductImage, verb: Verb) -> str:
    if image.state in verb.states:
        return ""
    wanted = ", ".join(str(ImageState(state).label) for state in verb.states)
    return _("Is %(state)s; this is for pictures that are: %(wanted)s.") % {
        "state": image.get_state_display(), "wanted": wanted,
    }


def _act(
    model_admin: ProductImageAdmin, request: HttpRequest, verb: Verb, keys: list[UUID], form: Any
) -> HttpResponse:
    found = ProductImage.objects.in_bulk(keys[: verb.limit])
    problems: dict[UUID, str] = {}
    done = 0
    for key in keys[: verb.limit]:
        image = found.get(key)
        if image is None:
            continue
        try:
            told = verb.act(image, request.user, form.cleaned_data)
        except NotAllowed as error:
            if error.code == "not_allowed":
                raise PermissionDenied(str(error)) from error
            problems[key] = str(error)
        except ShopgenError as error:
            problems[key] = str(error)
        else:
            done += 1
            model_admin.log_change(request, image, str(verb.log) % form.cleaned_data)
            if told is not None and (told.level >= messages.WARNING or len(keys) <= TOLD_SINGLY):
                messages.add_message(request, told.level, told.text)
    if done:
        messages.success(request, verb.done(done))
    if not problems:
        return model_admin.back(request)
    messages.error(
        request,
        ngettext(
            "%(n)d picture was left as it was; below is why.",
            "%(n)d pictures were left as they were; below is why.", len(problems),
        ) % {"n": len(problems)},
    )  # fmt: skip
    return ask(model_admin, request, verb, list(problems), form=form, problems=problems)
