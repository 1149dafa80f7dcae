"""Which operations there are: this package's own and those of any installed app."""

from __future__ import annotations

from typing import TypeVar

from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext as _

from shopgen_django.exceptions import NotFound

from .base import Operation

T = TypeVar("T", bound=type[Operation])

_OPERATIONS: dict[str, Operation] = {}

BUILT_IN = (
    "generate", "fit", "cut_out", "background", "repair", "denoise", "enlarge", "correct", "create", "restyle",
    "inpaint", "scene", "describe", "recipe", "preview", "intake", "model_files",
)  # fmt: skip


def register(cls: T) -> T:
    """Class decorator: make the operation known under its name.

    Raises ``ValueError`` when another class already has the name: two apps that both ship ``resize`` must not
    silently replace one another.
    """
    known = _OPERATIONS.get(cls.name)
    if known is not None and type(known) is not cls:
        raise ValueError(f"Two operations are named {cls.name!r}: {type(known)!r} and {cls!r}.")
    _OPERATIONS[cls.name] = cls()
    return cls


def unregister(name: str) -> None:
    """Forget an operation (a shop that does not want one of ours; tests)."""
    _OPERATIONS.pop(name, None)


def autodiscover() -> None:
    """Import the built-in operations and each installed app's ``shopgen_operations`` module."""
    from importlib import import_module

    for name in BUILT_IN:
        import_module(f"{__package__}.{name}")
    autodiscover_modules("shopgen_operations")


def get_operation(name: str) -> Operation:
    """The operation of this name. Raises :class:`NotFound`."""
    try:
        return _OPERATIONS[name]
    except KeyError:
        raise NotFound(
            _("There is no operation %(name)s. Known are: %(known)s.")
            % {"name": name, "known": ", ".join(sorted(_OPERATIONS))},
            code="unknown_operation",
        ) from None


def all_operations() -> list[Operation]:
    """Every operation, by name."""
    return [_OPERATIONS[name] for name in sorted(_OPERATIONS)]


def public_operations() -> list[Operation]:
    """Those that people and programs may choose, by name."""
    return [operation for operation in all_operations() if operation.public]
