"""``recipe``: a chain of operations under a name, as one job; the result of every step is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import InvalidParameters, ShopgenError

from .base import Estimate, Operation, OperationContext, Output, Words
from .chains import Step, estimate_of, gather, origin_of, parse_steps, run_chain
from .parameters import Parameters
from .registry import get_operation, register
from .shelf import Shelf

OWN = "own"
Found = tuple[str | Promise, list[dict[str, Any]]]
"""A recipe's label and its steps as plain values."""
BUILT_IN: Mapping[str, Found] = {
    "marketplace-white": (
        gettext_lazy("Marketplace: pure white, 2000 × 2000"),
        [
            {
                "operation": "background",
                # Marketplaces measure how much of the square the product fills: a small photo is enlarged rather.
                "params": {"ground": "white", "width": 2000, "height": 2000, "margin": 0.075, "max_upscale": 8},
            }
        ],
    ),
    "studio": (
        gettext_lazy("Studio ground with a soft shadow, 1600 × 1600"),
        [
            {
                "operation": "background",
                "params": {
                    "ground": "sweep", "colour": "#f4f4f4", "shadow": "soft", "width": 1600, "height": 1600,
                    "margin": 0.12, "align": "stand",
                },
            }
        ],
    ),
    "phone-to-shop": (
        gettext_lazy("Phone photo: less noise, right light, pure white, 2000 × 2000"),
        [
            {"operation": "denoise", "params": {}},
            {"operation": "correct", "params": {}},
            {
                "operation": "background",
                "params": {"ground": "white", "width": 2000, "height": 2000, "margin": 0.075, "max_upscale": 8},
            },
        ],
    ),
}
shelf: Shelf[Found] = Shelf(BUILT_IN, lambda recipe: recipe[0])


def _all_choices() -> list[tuple[str, str]]:
    return [*shelf.choices(), (OWN, _("The steps given below"))]


class RecipeParameters(Parameters):
    # Not a ChoiceField: a job that waits keeps its steps, and its recipe may be renamed or gone when it is read again.
    recipe = forms.CharField(
        label=gettext_lazy("Recipe"), initial="marketplace-white", max_length=64,
        widget=forms.Select(choices=_all_choices),  # type: ignore[arg-type]
        help_text=gettext_lazy("Name of one of the shop's recipes or of a built-in one."),
    )
    steps = forms.JSONField(
        label=gettext_lazy("Steps"), required=False,
        help_text=gettext_lazy(
            'A recipe of your own: a list of {"operation": name, "params": {…}}, run one after the other. A job keeps '
            "the steps that it was queued with."
        ),
    )

    def clean(self) -> dict[str, Any]:
        values = dict(super().clean() or self.cleaned_data)
        name, steps = str(values.get("recipe") or ""), values.get("steps")
        if not name or "steps" in self.errors:
            return values
        if steps in (None, "", []):
            if name == OWN:
                self._tell("steps", _("Give the steps of your own recipe."))
                return values
            found = shelf.find(name)
            if found is None:
                names = ", ".join(known for known, _label in shelf.choices())
                self.add_error("recipe", _("There is no recipe %(name)s. Known are: %(names)s.") % {
                    "name": name, "names": names
                })  # fmt: skip
                return values
            steps = found[1]
        if not isinstance(steps, list):
            self._tell("steps", _("Steps are a list."))
            return values
        try:
            values["steps"] = [step.as_dict() for step in parse_steps(steps)]
        except ShopgenError as error:
            self._tell("steps", str(error))
        return values

    def _tell(self, name: str, text: str) -> None:
        """At the field; a page that shows a named recipe alone has none for the steps."""
        self.add_error(name if name in self.fields else "recipe", text)


@register
class Recipe(Operation):
    name = "recipe"
    label = gettext_lazy("Recipe")
    description = gettext_lazy("Several operations one after the other; the result of each step is kept.")
    Parameters = RecipeParameters
    min_inputs = 1
    max_inputs = 1
    is_chain = True

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return estimate_of(
            Step(operation=step["operation"], params=step["params"]) for step in params["steps"]
        )

    def parts(self, params: Mapping[str, Any]) -> tuple[Operation, ...]:
        return (self, *(get_operation(step["operation"]) for step in params["steps"]))

    def pictures(self, params: Mapping[str, Any]) -> dict[str, str]:
        found = {}
        for number, step in enumerate(params["steps"], start=1):
            for name, key in get_operation(step["operation"]).pictures(step["params"]).items():
                found[f"{number}.{name}"] = key
        return found

    def demand(self, params: Mapping[str, Any], inputs: int) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        level = 1  # what a step makes of one picture, the next works on each
        for step in params["steps"]:
            operation = get_operation(step["operation"])
            for engine, amount in operation.demand(step["params"], 1).items():
                found[engine] += level * amount
            level *= max(1, operation.estimate(step["params"], 1).outputs)
        return found

    def words(self, params: Mapping[str, Any], *, title: str = "", category: str = "") -> tuple[Words, ...]:
        found = []
        for step in params["steps"]:
            operation = get_operation(step["operation"])
            own = operation.words(step["params"], title=title, category=category)
            found += [replace(words, step=operation.label) for words in own]
        return tuple(found)

    def run(self, context: OperationContext) -> Iterator[Output]:
        steps = _steps(context.params)
        (source,) = context.inputs
        measurements: list[dict[str, float]] = []
        reasons: list[str] = []
        for made in run_chain(source, steps, context):
            context.check()
            before = measurements[made.of] if made.of is not None else {}
            earlier = reasons[made.of] if made.of is not None else ""
            known = dict(before)
            gather(known, made.output.measurements)
            measurements.append(known)
            own = str(made.output.held_back)
            reasons.append(earlier if not own or own in earlier else f"{earlier} {own}".strip())
            beside = tuple(key for key in made.output.parents if key in context.pictures)
            yield _kept(made.step, made.of, made.output, steps, known, reasons[-1], beside)


def _steps(params: Mapping[str, Any]) -> tuple[Step, ...]:
    try:
        return parse_steps(params["steps"])
    except ShopgenError as error:
        # Validated when the job was queued; an app with one of its operations may have gone since.
        raise InvalidParameters(str(error)) from error


def _kept(
    number: int, of: int | None, output: Output, steps: tuple[Step, ...], measurements: Mapping[str, float],
    reason: str, beside: tuple[str, ...],
) -> Output:
    """A step's result as the job keeps it: the last ones for review, the ones before as drafts, without loss.

    ``beside``: pictures that the step's parameters name, which stay parents also of what was made from a result.
    """
    operation = get_operation(steps[number].operation)
    last = number == len(steps) - 1
    words = _("Step %(n)d of %(count)d (%(operation)s): the result of the last step is what counts.") % {
        "n": number + 1, "count": len(steps), "operation": operation.label
    }
    return replace(
        output, format=output.format if last else "PNG", measurements=measurements,
        made_from=() if of is None else (of,), parents=output.parents if of is None else beside,
        held_back=reason if last else words,
        digital_source=origin_of(steps[: number + 1], ""),
    )
