"""Whether transformers is there and works, told in words that say what to install."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from functools import cache
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.diffusers.install import broken, fitting_torchvision, keep_quiet
from shopgen_django.engines.errors import BrokenInstall, NotInstalled

EXTRA = "pip install 'shopgen-django[transformers]'"
PACKAGES = ("torch", "transformers", "safetensors")


def missing() -> list[str]:
    """Packages of the extra that are not installed; imports none of them."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def load_library() -> Any:
    """The transformers module, imported so that it stays quiet and asks no server.

    Raises NotInstalled, or BrokenInstall with the likely cause when the import fails.
    """
    absent = missing()
    if absent:
        raise NotInstalled(
            _("Models that look at pictures need packages that are not installed (%(names)s): %(command)s.")
            % {"names": ", ".join(absent), "command": EXTRA}
        )
    keep_quiet()
    fitting_torchvision()
    return _imported()


@cache
def _imported() -> Any:
    try:
        transformers = importlib.import_module("transformers")
        transformers.PreTrainedModel  # noqa: B018 (lazy modules fail at the first use, not at the import)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise BrokenInstall(broken(error)) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return transformers
