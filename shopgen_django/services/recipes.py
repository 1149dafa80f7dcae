"""Recipes: chains of operations under a name. The one place that finds, reads, checks and saves them.

As plain JSON: ``{"name": "marketplace-white", "label": …, "steps": [{"operation": "background", "params": {…}}]}``.
The shop's own rows go before the built-in recipes of the same name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from shopgen_django import models
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed, NotFound, ShopgenError
from shopgen_django.operations.chains import Step, parse_steps
from shopgen_django.operations.recipe import BUILT_IN, OWN, Found, shelf
from shopgen_django.operations.registry import public_operations

MOST = 500
"""Recipes that a shop may save: they stand in one list wherever work is queued."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OURS = {"version", "built_in", "created_by", "created_at", "updated_at", "url"}
"""What an export over HTTP holds beside the recipe: left out when it comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A chain of validated steps under a name."""

    name: str
    label: str | Promise
    steps: tuple[Step, ...]
    description: str = ""
    row: models.Recipe | None = None
    """Where it is saved; ``None`` for a built-in one and for one from a file."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as :func:`parse_recipe` takes them."""
        return {
            "name": self.name, "label": str(self.label), "description": self.description,
            "steps": [step.as_dict() for step in self.steps],
        }

    @property
    def built_in(self) -> bool:
        return self.row is None


def register() -> None:
    """Tell the operation about the shop's recipes; called from ``AppConfig.ready``."""
    shelf.find_own = _find
    rows = models.Recipe.objects.order_by("label", "name")
    shelf.own_choices = lambda: list(rows.all().values_list("name", "label")[:MOST])


def _find(name: str) -> Found | None:
    row = models.Recipe.objects.filter(name=name).first()
    return None if row is None else (row.label, row.steps)


def recipe_names(*, rows: bool = True) -> list[str]:
    """Every recipe's name. ``rows``: those that the shop has saved as well (a query)."""
    own = models.Recipe.objects.values_list("name", flat=True)[:MOST] if rows else ()
    return sorted({*BUILT_IN, *own})


def all_recipes() -> list[Recipe]:
    """The shop's recipes, then the built-in ones whose name the shop has not taken.

    A saved one whose operations are gone has no steps here.
    """
    rows = models.Recipe.objects.select_related("created_by").order_by("name")[:MOST]
    own = [_of_row(row, strict=False) for row in rows]
    taken = {recipe.name for recipe in own}
    return own + [_built_in(name) for name in BUILT_IN if name not in taken]


def saved_recipe(name: str) -> models.Recipe | None:
    """The row of this name, whether or not its steps can be run."""
    return models.Recipe.objects.select_related("created_by").filter(name=name).first()


def get_recipe(name: str, *, rows: bool = True) -> Recipe:
    """The recipe of this name, the shop's own before a built-in one; ``rows=False`` asks no database.

    Raises NotFound that says which there are, InvalidParameters for a saved one that can't be run any more.
    """
    row = saved_recipe(name) if rows else None
    if row is not None:
        return _of_row(row)
    if name in BUILT_IN:
        return _built_in(name)
    operations = ", ".join(operation.name for operation in public_operations())
    raise NotFound(
        _("There is no operation or recipe %(name)s. Operations: %(operations)s. Recipes: %(recipes)s.")
        % {"name": name, "operations": operations, "recipes": ", ".join(recipe_names(rows=rows))},
        code="unknown_recipe",
    )


def _built_in(name: str) -> Recipe:
    label, steps = BUILT_IN[name]
    return Recipe(name=name, label=label, steps=parse_steps(steps))


def _of_row(row: models.Recipe, *, strict: bool = True) -> Recipe:
    try:
        steps = parse_steps(row.steps)
    except ShopgenError:
        if strict:
            raise
        steps = ()
    return Recipe(name=row.name, label=row.label, description=row.description, steps=steps, row=row)


def parse_recipe(value: Any) -> Recipe:
    """A recipe from plain values. Raises InvalidParameters that says what is wrong with it."""
    if not isinstance(value, Mapping) or not isinstance(value.get("steps"), list):
        raise InvalidParameters(_('A recipe is {"name": …, "steps": [{"operation": …, "params": {…}}]}.'))
    unknown = sorted(set(value) - {"name", "label", "description", "steps"} - _OURS)
    if unknown:
        raise InvalidParameters(_("Unknown in a recipe: %(names)s.") % {"names": ", ".join(map(str, unknown))})
    name = str(value.get("name") or "recipe")
    return Recipe(
        name=name, label=str(value.get("label") or name), description=str(value.get("description") or ""),
        steps=parse_steps(value["steps"]),
    )


def read_json(text: str, *, name: str = "JSON") -> Recipe:
    """A recipe from JSON; ``name`` is what messages call it. Raises InvalidParameters."""
    try:
        value = json.loads(text.removeprefix("\ufeff"))  # what some editors begin a file with
        json.dumps(value, ensure_ascii=False).encode()  # half a character fits in no page and no column
    except (ValueError, RecursionError) as error:
        raise InvalidParameters(_("%(file)s is not valid JSON: %(why)s") % {"file": name, "why": error}) from error
    return parse_recipe(value)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file. Raises InvalidParameters."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidParameters(
            _("%(file)s can't be read: %(why)s.") % {"file": path, "why": error.strerror}
        ) from error
    except ValueError as error:
        raise InvalidParameters(_("%(file)s is not valid JSON: %(why)s") % {"file": path, "why": error}) from error
    return read_json(text, name=str(path))


def create_recipe(
    *, name: str, label: str, steps: Sequence[Mapping[str, Any]], description: str = "", user: Any = None
) -> Recipe:
    """Save a new recipe.

    Raises NotAllowed, InvalidParameters (``fields``: name, label, description, steps), InvalidState for a taken name.
    """
    _require(user, "add_recipe")
    values = _checked(name, label, description, steps)
    if models.Recipe.objects.count() >= MOST:
        raise InvalidState(_("There are %(most)d recipes, and no more fit. Delete some first.") % {"most": MOST})
    owner = user if getattr(user, "pk", None) else None
    try:
        with transaction.atomic():
            row = models.Recipe.objects.create(**values, created_by=owner)
    except IntegrityError as error:
        text = _("There is a recipe of this name already.")
        raise InvalidState(text, fields={"name": [text]}, code="recipe_exists") from error
    return _of_row(row)


def update_recipe(
    *, recipe: models.Recipe, label: str, steps: Sequence[Mapping[str, Any]], description: str = "",
    version: int | None = None, user: Any = None,
) -> Recipe:
    """Change a saved recipe; its name stays. Jobs that wait keep the steps that they were queued with.

    ``version``: the one that the caller has seen. Raises NotAllowed, InvalidParameters, NotFound when it is gone,
    InvalidState when somebody else has changed it since.
    """
    _require(user, "change_recipe")
    values = _checked(recipe.name, label, description, steps)
    rows = models.Recipe.objects.filter(pk=recipe.pk)
    seen = rows if version is None else rows.filter(version=version)
    if not seen.update(**values, version=F("version") + 1, updated_at=Now()):
        if not rows.exists():
            raise NotFound(_("This recipe has been deleted meanwhile."), code="unknown_recipe")
        raise InvalidState(_("Somebody else has changed this recipe since you opened it. Look at theirs first."))
    return _of_row(rows.select_related("created_by").get())


def delete_recipe(*, recipe: models.Recipe, user: Any = None) -> None:
    """Delete a saved recipe; jobs that wait still run. Raises NotAllowed."""
    _require(user, "delete_recipe")
    models.Recipe.objects.filter(pk=recipe.pk).delete()


def _require(user: Any, permission: str) -> None:
    if user is not None and not user.has_perm(f"shopgen.{permission}"):
        raise NotAllowed(_("You may not change recipes."))


def _checked(name: str, label: str, description: str, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    wrong: dict[str, list[object]] = {}
    if not _NAME.fullmatch(name):
        wrong["name"] = [_("A name has 1 to 64 letters, digits, hyphens or underscores.")]
    elif name == OWN or name in {operation.name for operation in public_operations()}:
        wrong["name"] = [_("This is the name of an operation. Choose another one.")]
    if not 1 <= len(label.strip()) <= 100 or "\x00" in label:
        wrong["label"] = [_("A label has 1 to 100 characters.")]
    if len(description) > 1000 or "\x00" in description:
        wrong["description"] = [_("A description has at most 1000 characters.")]
    plain: list[dict[str, Any]] = []
    try:
        plain = [step.as_dict() for step in parse_steps(steps)]
    except ShopgenError as error:
        wrong["steps"] = [str(error)]
    if wrong:
        raise InvalidParameters(" ".join(str(texts[0]) for texts in wrong.values()), fields=wrong)
    return {"name": name, "label": label.strip(), "description": description.strip(), "steps": plain}
