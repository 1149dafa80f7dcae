"""A recipe's steps: in words, and as forms that a person edits without scripts.

Every button of the editor sends the whole page; what comes back is the page with the step added, moved or removed. The
order of steps travels as their numbers; a step keeps its number, so that its fields keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from shopgen_django.exceptions import ShopgenError
from shopgen_django.operations.base import Operation
from shopgen_django.operations.chains import MAX_STEPS, Step, parse_steps, suits_chain
from shopgen_django.operations.registry import get_operation, public_operations
from shopgen_django.services.recipes import get_recipe

NEW = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStep:
    """A step in words: what differs from the operation's own defaults."""

    label: Any
    values: list[tuple[Any, str]]

    @property
    def text(self) -> str:
        return " · ".join(f"{label}: {value}" for label, value in self.values)


def shown_steps(name: str) -> list[ShownStep]:
    """The steps of the recipe ``name``; none when there is no such recipe or it can't be run."""
    if not name:
        return []
    try:
        return in_words(get_recipe(name).steps)
    except ShopgenError:
        return []


def in_words(steps: Sequence[Any]) -> list[ShownStep]:
    """Validated steps as people read them."""
    shown = []
    for step in steps:
        operation = get_operation(step.operation)
        usual = operation.Parameters.defaults()
        fields = operation.Parameters.base_fields
        shown.append(ShownStep(label=operation.label, values=[
            (fields[name].label or name, _value(fields[name], value))
            for name, value in step.params.items()
            if name in fields and value != usual.get(name)
            and not (value in ("", None, []) and usual.get(name) in ("", None, []))
        ]))  # fmt: skip
    return shown


def steps_in_words(stored: Sequence[Any]) -> list[ShownStep]:
    """Steps as a job or a picture keeps them; none when they are no steps or an operation is gone."""
    try:
        return in_words([Step(operation=step["operation"], params=step["params"]) for step in stored])
    except (ShopgenError, KeyError, TypeError):
        return []


def _value(field: forms.Field, value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(field, forms.ChoiceField):
        labels = {str(key): str(label) for key, label in field.widget.choices}
        return ", ".join(labels.get(str(each), str(each)) for each in (value if isinstance(value, list) else [value]))
    return f"{value:g}" if isinstance(value, float) else str(value)


def step_operations() -> list[Operation]:
    """Operations that can be a step."""
    return [operation for operation in public_operations() if suits_chain(operation)]


@dataclass(slots=True, kw_only=True)
class StepForm:
    """One step on the page. ``number`` names its fields and never changes while the page is edited."""

    number: int
    operation: Operation
    form: Any
    problem: str = ""

    @property
    def fields(self) -> list[Any]:
        """Fields to show."""
        return [field for field in self.form if not isinstance(field.field, forms.JSONField)]

    @property
    def carried(self) -> list[Any]:
        """Marks on one picture (boxes, corners, strokes) mean nothing for ten thousand: kept as they are, not shown."""
        return [field for field in self.form if isinstance(field.field, forms.JSONField)]

    @property
    def params(self) -> dict[str, Any]:
        """What was filled in; call after ``form.is_valid()``."""
        return {name: value for name, value in self.form.cleaned_data.items() if value is not None}


def _shown(operation: Operation, params: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a form: a JSON field would show an empty one as the text of an empty text."""
    fields = operation.Parameters.base_fields
    empty = {name for name, field in fields.items() if isinstance(field, forms.JSONField) and not params.get(name)}
    return {name: None if name in empty else value for name, value in params.items()}


class Steps:
    """The steps of the editor's page, in order."""

    def __init__(self, forms: Sequence[StepForm] = ()) -> None:
        self.forms = list(forms)
        self.problems: list[str] = []

    @classmethod
    def stored(cls, steps: Sequence[Mapping[str, Any]]) -> Steps:
        """Of a saved recipe. One whose operation is gone is named in ``problems`` and left out."""
        made = cls()
        for number, step in enumerate(steps):
            operation = made._operation(str(step.get("operation")))
            if operation is None:
                continue
            params, problem = dict(step.get("params") or {}), ""
            try:
                params = dict(parse_steps([step])[0].params)
            except ShopgenError as error:
                problem = str(error)
            form = operation.Parameters(initial=_shown(operation, params), prefix=f"s{number}")
            made.forms.append(StepForm(number=number, operation=operation, form=form, problem=problem))
        return made

    @classmethod
    def posted(cls, post: Any) -> Steps:
        """As they were sent, in their order. Strange numbers and operations are left out."""
        made = cls()
        numbers = list(dict.fromkeys(part for part in post.get("order", "").split(",") if part.isdecimal()))
        for text in numbers[:MAX_STEPS]:
            operation = made._operation(post.get(f"s{text}-operation-name", ""))
            if operation is not None:
                form = operation.Parameters(post, prefix=f"s{text}")
                made.forms.append(StepForm(number=int(text[:6]), operation=operation, form=form))
        return made

    def _operation(self, name: str) -> Operation | None:
        known = {operation.name: operation for operation in step_operations()}
        if name not in known:
            text = _("There is no operation %(name)s any more; its step was left out.")
            self.problems.append(text % {"name": name[:64]})
        return known.get(name)

    @property
    def order(self) -> str:
        return ",".join(str(step.number) for step in self.forms)

    @property
    def full(self) -> bool:
        return len(self.forms) >= MAX_STEPS

    @property
    def first_wrong(self) -> int | None:
        """Number of the first step with a message, after :meth:`checked`: the page opens there."""
        return next((step.number for step in self.forms if step.problem or step.form.errors), None)

    def press(self, post: Any) -> int | None:
        """Do what the pressed button says; the number of the step that it was about, ``None`` when it was none."""
        if "add" in post:
            return self._add(post.get("adding", ""))
        for verb, by in (("up", -1), ("down", 1), ("remove", 0)):
            place = next((i for i, step in enumerate(self.forms) if str(step.number) == post.get(verb)), None)
            if place is None:
                continue
            step = self.forms.pop(place)
            if by:
                self.forms.insert(max(0, min(len(self.forms), place + by)), step)
                return step.number
            return self.forms[min(place, len(self.forms) - 1)].number if self.forms else None
        return None

    def _add(self, name: str) -> int | None:
        if self.full:
            self.problems.append(_("A recipe has 1 to %(limit)d steps.") % {"limit": MAX_STEPS})
            return None
        operation = self._operation(name)
        if operation is None:
            return None
        number = 1 + max((step.number for step in self.forms), default=-1)
        form = operation.Parameters(
            initial=_shown(operation, operation.Parameters.defaults()), prefix=f"s{number}"
        )
        self.forms.append(StepForm(number=number, operation=operation, form=form))
        return number

    def checked(self) -> list[dict[str, Any]] | None:
        """The steps as plain values; None with the messages at their step when one is wrong."""
        good = bool(self.forms)
        if not good:
            self.problems.append(_("Add at least one step."))
        plain = []
        for step in self.forms:
            if not step.form.is_valid():
                good = False
                continue
            try:
                # What the operation refuses beside its form (a large model that is not there).
                step.operation.clean(step.operation.Parameters.parse(step.params))
            except ShopgenError as error:
                told = [f"{name}: {' '.join(map(str, texts))}" for name, texts in error.fields.items()]
                step.problem, good = "; ".join(told) or str(error), False
            plain.append({"operation": step.operation.name, "params": step.params})
        return plain if good else None
