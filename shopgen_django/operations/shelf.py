"""Named things of which some come with the app and others are the shop's own rows: recipes, presets.

Operations know no rows: whoever keeps them (a service) tells a shelf how to find them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from django.utils.functional import Promise

T = TypeVar("T")


class Shelf(Generic[T]):
    """``built_in``: name -> thing; ``label`` says what people call one. The shop's own hide those of their names."""

    def __init__(self, built_in: Mapping[str, T], label: Callable[[T], str | Promise]) -> None:
        self._built_in, self._label = built_in, label
        self.find_own: Callable[[str], T | None] = lambda name: None
        self.own_choices: Callable[[], list[tuple[str, str]]] = list

    def find(self, name: str) -> T | None:
        """The shop's own of this name, else the built-in one."""
        own = self.find_own(name)
        return self._built_in.get(name) if own is None else own

    def choices(self) -> list[tuple[str, str]]:
        """Name and label of all, the shop's own first."""
        own = self.own_choices()
        taken = {name for name, _label in own}
        return own + [(name, str(self._label(each))) for name, each in self._built_in.items() if name not in taken]
