"""Whether the libraries are there and work, told in words that say what to install."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from functools import cache
from importlib import metadata
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BrokenInstall, NotInstalled

EXTRA = "pip install 'shopgen-django[diffusers]'"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
VERSIONS = ("torch", "diffusers", "transformers", "peft")


def missing() -> list[str]:
    """Packages of the extra that are not installed; imports none of them."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def require(*more: str) -> None:
    """Raises NotInstalled when a package of the extra, or one of ``more``, is missing."""
    absent = [*missing(), *(name for name in more if importlib.util.find_spec(name) is None)]
    if absent:
        raise NotInstalled(
            _("Large picture models need packages that are not installed (%(names)s): %(command)s.")
            % {"names": ", ".join(absent), "command": EXTRA}
        )


def load_libraries(*, hub: bool = False) -> Any:
    """The diffusers module, imported so that it stays quiet and asks no server.

    Raises NotInstalled, or BrokenInstall with the likely cause when the import fails: a torchvision that was built for
    another torch takes diffusers down with it.
    """
    require()
    keep_quiet(hub=hub)
    fitting_torchvision()
    return _imported()


def keep_quiet(*, hub: bool = False) -> None:
    """Before either library is imported: nothing is reported or drawn, and unless ``hub`` no server is asked."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not hub:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


@cache
def _imported() -> Any:
    try:
        diffusers = importlib.import_module("diffusers")
        transformers = importlib.import_module("transformers")
        diffusers.StableDiffusionPipeline  # noqa: B018 (lazy modules fail at the first use, not at the import)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise BrokenInstall(broken(error)) from error
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return diffusers


@cache
def versions() -> str:
    """"torch 2.13.0, diffusers 0.42.1, …", as installed."""
    found = []
    for name in VERSIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def fitting_torchvision() -> None:
    """It is not needed, but one that doesn't fit torch breaks every import of the libraries that look for it.

    Raises BrokenInstall for such a one.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise BrokenInstall(broken(error)) from error


def broken(error: BaseException) -> str:
    """What to do about a library that can't be imported."""
    found = {}
    for name in ("torch", "torchvision", *VERSIONS[1:]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "torchvision" in f"{error}":
        return _(
            "torchvision does not fit torch (%(versions)s): %(error)s. Install the torchvision that belongs to this "
            "torch, or remove it, it is not needed: pip uninstall torchvision."
        ) % {"versions": told, "error": first}
    return _("The libraries for large picture models can't be loaded (%(versions)s): %(error)s. Install them anew: "
             "%(command)s.") % {"versions": told, "error": first, "command": EXTRA}
