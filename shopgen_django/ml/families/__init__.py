"""Kinds of generator. A family is one module that defines networks, loss and step, and is listed here.

Loop, checkpoints, options and sampling know only :mod:`.base`; to add a family write a module with a
:class:`~shopgen_django.ml.families.base.Family` named ``FAMILY`` and add its name to :data:`MODULES`.
"""

from __future__ import annotations

from importlib import import_module

from shopgen_django.ml.errors import ConfigError

from .base import Family

MODULES: tuple[str, ...] = ("modern", "dcgan", "vae", "denoiser")


def get_family(name: str) -> Family:
    """The family of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in MODULES:
        raise ConfigError(f"There is no architecture {name!r}. Choose one of: {', '.join(MODULES)}.")
    family: Family = import_module(f".{name}", __name__).FAMILY
    return family
