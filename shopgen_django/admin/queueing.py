"""The page that queues work: choose the operation, fill in its own form, see the estimate, queue one batch."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.exceptions import IdempotencyConflict, InvalidParameters, ShopgenError
from shopgen_django.operations.base import Operation
from shopgen_django.operations.marks import MarksField
from shopgen_django.operations.recipe import shelf
from shopgen_django.services.batch import BatchItem, plan_batch, submit_batch

from .base import ShopgenAdmin
from .bulk import chosen_keys
from .display import duration, picture_url
from .picture_choice import offer_pictures
from .prompt_words import PromptWords, prompt_words
from .recipe_steps import shown_steps
from .spending import Left, left_for
from .subjects import Pictures, Subject, Wanted

PREFIX = "p"
NAMED = "recipe:"
"""Before a recipe's name in the list of operations."""
MAX_JOBS = 500


@dataclass(slots=True, kw_only=True)
class Plan:
    """What pressing the button would do."""

    jobs: int = 0
    outputs: int = 0
    seconds: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list)
    to_import: int = 0
    texts: bool = False
    """Whether texts come out instead of pictures."""
    words: PromptWords | None = None
    """What a model would read, where one works by words."""
    budgets: list[Left] = field(default_factory=list)
    """Those that would pay for it, and what they have left."""
    token: uuid.UUID = field(default_factory=uuid.uuid4)
    """One per opened page: makes pressing the button twice harmless."""

    @property
    def text(self) -> str:
        jobs, outputs = self.jobs, self.outputs
        made = ngettext("%(n)d new picture", "%(n)d new pictures", outputs)
        if self.texts:
            made = ngettext("%(n)d proposed text", "%(n)d proposed texts", outputs)
        return _("%(jobs)s, %(pictures)s, about %(time)s of work") % {
            "jobs": ngettext("%(n)d job", "%(n)d jobs", jobs) % {"n": jobs},
            "pictures": made % {"n": outputs},
            "time": duration(self.seconds),
        }


def queue_images(
    model_admin: ShopgenAdmin, request: HttpRequest, keys: Sequence[uuid.UUID] | None = None
) -> HttpResponse:
    """The page for chosen pictures; ``keys`` when it is opened from the list."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    opened = keys is not None
    chosen = list(keys) if keys is not None else chosen_keys(request.POST.getlist("pk"))
    subject = Pictures(chosen[:MAX_JOBS])
    if not subject.pictures:
        messages.warning(request, _("No picture is selected. Nothing was queued."))
        return model_admin.back(request)
    return queue_page(
        model_admin, request, subject, address=reverse("admin:shopgen_productimage_run"), opened=opened
    )


def queue_page(
    model_admin: ShopgenAdmin, request: HttpRequest, subject: Subject, *, address: str, opened: bool = False,
    preferred: str = "", came_from: str = "", **context: Any,
) -> HttpResponse:
    """Show the page, or queue when its button was pressed.

    ``opened``: this request is not from the page itself. ``came_from``: where "take me back" leads then.
    """
    if not model_admin.may(request, "submit_job"):
        raise PermissionDenied
    operations = subject.operations()
    if not operations:
        messages.error(request, _("No operation is installed that works on this."))
        return model_admin.back(request)
    posted = {} if opened else request.POST
    wanted = posted.get("operation") or request.GET.get("operation") or preferred
    recipes = shelf.choices() if any(operation.is_chain for operation in operations) else []
    operation, recipe = _chosen(wanted, operations, recipes)
    chosen = NAMED + recipe if recipe else operation.name
    filled_in = posted.get("shown") == chosen
    form: Any = operation.Parameters(posted if filled_in else None, prefix=PREFIX)
    if recipe:
        # The name is chosen in the list, and its steps are edited on a page of their own.
        form.fields.clear()
    offer_pictures(form, request, subject)
    together = filled_in and "together" in posted and subject.may_join(operation)
    plan, params = _plan(
        operation, form, subject, filled_in, {"recipe": recipe} if recipe else {}, request.user, together=together
    )
    plan.token = _token(posted.get("token"))
    wanted_now = filled_in and "queue" in posted and (recipe or form.is_valid()) and not plan.problems
    # What a model would not read stops nobody, but is seen once before it is queued.
    unseen = plan.words is not None and plan.words.cut > 0 and posted.get("cut_seen") != plan.words.mark
    if wanted_now and not unseen:
        answer = _queue(request, operation, params, subject, plan, together=together)
        if answer is not None:
            return answer
    page = model_admin.page_context(
        request, _("Queue work"), subject=subject, operations=operations, operation=operation, form=form, plan=plan,
        recipes=[(NAMED + name, label) for name, label in recipes], chosen=chosen, recipe=recipe,
        recipe_steps=shown_steps(recipe), together=together, held=wanted_now and unseen,
        may_join=subject.may_join(operation), **_marking(operation, form, subject), **_previewing(operation, subject),
        address=address, next=came_from or model_admin.next_url(request), **context,
    )
    return TemplateResponse(request, "shopgen_django/admin/queue.html", page)


def _marking(operation: Operation, form: forms.Form, subject: Subject) -> dict[str, Any]:
    """The picture that marks are painted on, when the form has fields for such and there is just one; or one and its
    mask, which the marks change."""
    if not any(isinstance(field, MarksField) for field in form.fields.values()):
        return {}
    pictures = subject.pictures
    masked = operation.second_is_mask and len(pictures) == 2
    if len(pictures) != 1 and not masked:
        return {"marks_many": True}
    found = {"marked_url": picture_url(pictures[0], "large")}
    return {**found, "mask_url": picture_url(pictures[1], "large")} if masked else found


def _previewing(operation: Operation, subject: Subject) -> dict[str, Any]:
    """The picture that a preview is made of: the first of those chosen."""
    if not subject.pictures or operation.max_inputs == 0 or operation.takes_in or operation.makes_texts:
        return {}
    return {"preview_of": picture_url(subject.pictures[0], "large")}


def _chosen(wanted: str, operations: Sequence[Operation], recipes: Sequence[tuple[str, str]]) -> tuple[Operation, str]:
    """The operation, and the recipe's name where one was chosen; the first operation when it is none of these."""
    name = wanted.removeprefix(NAMED)
    if wanted.startswith(NAMED) and name in dict(recipes):
        return next(operation for operation in operations if operation.is_chain), name
    return next((operation for operation in operations if operation.name == wanted), operations[0]), ""


def _token(given: object) -> uuid.UUID:
    try:
        return uuid.UUID(str(given))
    except ValueError:
        return uuid.uuid4()


def _plan(
    operation: Operation, form: Any, subject: Subject, filled_in: bool, fixed: dict[str, Any], user: Any, *,
    together: bool = False,
) -> tuple[Plan, dict[str, Any]]:
    """What it would do, with parameters ``fixed`` or from the form. Errors of those go into the form, others into the
    plan."""
    plan = Plan(texts=operation.makes_texts)
    if fixed:
        params = fixed
    elif filled_in:
        if not form.is_valid():
            return plan, {}
        params = dict(form.cleaned_data)
    else:
        params = {name: value for name, value in operation.Parameters.defaults().items() if value is not None}
        if any(field.required and name not in params for name, field in form.fields.items()):
            return plan, {}
    wants = subject.wants(operation, together=together)
    plan.to_import, plan.problems = wants.to_import, list(wants.problems)
    labels = {wanted.key: wanted.label for wanted in wants.jobs}
    try:
        batch = plan_batch(operation=operation.name, params=params, items=_items(wants.jobs), user=user)
    except InvalidParameters as error:
        _into_form(form, error, filled_in, plan)
        return plan, params
    except ShopgenError as error:
        plan.problems.append(("", str(error)))
        return plan, params
    plan.words = prompt_words([(labels[item.name], planned) for item, planned in zip(
        batch.items, batch.planned, strict=True
    )])  # fmt: skip
    plan.budgets = left_for(batch.planned, user)
    plan.jobs, plan.seconds, plan.outputs = len(batch.items), batch.seconds, batch.outputs
    # What stands in the way of all (no model) is told once, not for each.
    told = {problem.message for problem in batch.problems}
    if len(told) == 1 and not batch.items:
        plan.problems.append(("", told.pop()))
    else:
        plan.problems += [(labels[problem.item], problem.message) for problem in batch.problems]
    return plan, params


def _items(jobs: Sequence[Wanted]) -> list[BatchItem]:
    return [
        BatchItem(
            name=wanted.key, inputs=wanted.inputs, catalogue=wanted.catalogue, object_pk=wanted.object_pk,
            import_first=wanted.import_first,
        )
        for wanted in jobs
    ]


def _into_form(form: forms.Form, error: InvalidParameters, filled_in: bool, plan: Plan) -> None:
    own = {name: texts for name, texts in error.fields.items() if name in form.fields}
    if not filled_in or not own:
        plan.problems.append(("", str(error)))
        return
    for name, texts in own.items():
        form.add_error(name, [str(text) for text in texts])


def _queue(
    request: HttpRequest, operation: Operation, params: dict[str, Any], subject: Subject, plan: Plan, *,
    together: bool = False,
) -> HttpResponse | None:
    """All jobs or none; None with the reason in ``plan`` when something stood in the way."""
    user: Any = request.user
    wants = subject.wants(operation, together=together)
    # Looked at once more: what stood in nobody's way when the page was shown may do so by now.
    if wants.problems or not wants.jobs:
        plan.problems += wants.problems or [("", _("There is nothing to do."))]
        return None
    asked: dict[str, Any] = {"operation": operation.name, "params": params, "subject": subject.hidden()}
    if together:
        asked["together"] = True
    try:
        batch, jobs, _new = submit_batch(
            operation=operation.name, params=params, items=_items(wants.jobs), user=user,
            idempotency_key=f"admin:{plan.token}", request=asked,
        )
    except IdempotencyConflict:
        plan.token = uuid.uuid4()
        plan.problems.append(("", _("This page has queued its work once already. Press the button again to queue "
                                    "this as well.")))  # fmt: skip
        return None
    except ShopgenError as error:
        plan.problems.append(("", str(error)))
        return None
    number = len(jobs)
    messages.success(request, ngettext("%(n)d job was queued.", "%(n)d jobs were queued.", number) % {"n": number})
    return HttpResponseRedirect(reverse("admin:shopgen_job_changelist") + f"?batch={batch}")
