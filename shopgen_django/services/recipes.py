"""Recipes: chains of operations under a name, as plain JSON.

``{"name": "marketplace-white", "steps": [{"operation": "background", "params": {"ground": "white", …}}]}``
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from shopgen_django.exceptions import InvalidParameters, NotFound
from shopgen_django.operations.chains import Step, parse_steps
from shopgen_django.operations.recipe import BUILT_IN
from shopgen_django.operations.registry import public_operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A chain of validated steps under a name."""

    name: str
    label: str | Promise
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as :func:`parse_recipe` takes them."""
        return {
            "name": self.name,
            "steps": [{"operation": step.operation, "params": dict(step.params)} for step in self.steps],
        }


def recipe_names() -> list[str]:
    """The built-in recipes."""
    return sorted(BUILT_IN)


def get_recipe(name: str) -> Recipe:
    """A built-in recipe. Raises NotFound that says which there are."""
    try:
        label, steps = BUILT_IN[name]
    except KeyError:
        operations = ", ".join(operation.name for operation in public_operations())
        raise NotFound(
            _("There is no operation or recipe %(name)s. Operations: %(operations)s. Recipes: %(recipes)s.")
            % {"name": name, "operations": operations, "recipes": ", ".join(recipe_names())}
        ) from None
    return Recipe(name=name, label=label, steps=parse_steps(steps))


def parse_recipe(value: Any) -> Recipe:
    """A recipe from plain values. Raises InvalidParameters that says what is wrong with it."""
    if not isinstance(value, Mapping) or not isinstance(value.get("steps"), list):
        raise InvalidParameters(_('A recipe is {"name": …, "steps": [{"operation": …, "params": {…}}]}.'))
    unknown = sorted(set(value) - {"name", "steps"})
    if unknown:
        raise InvalidParameters(_("Unknown in a recipe: %(names)s.") % {"names": ", ".join(map(str, unknown))})
    name = str(value.get("name") or "recipe")
    return Recipe(name=name, label=name, steps=parse_steps(value["steps"]))


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file. Raises InvalidParameters."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidParameters(
            _("%(file)s can't be read: %(why)s.") % {"file": path, "why": error.strerror}
        ) from error
    except ValueError as error:
        raise InvalidParameters(_("%(file)s is not valid JSON: %(why)s") % {"file": path, "why": error}) from error
    return parse_recipe(value)
