"""The quality gate: callables asked about each result before a reviewer sees it.

``SHOPGEN["GATES"]`` lists dotted paths of ``gate(image, measurements) -> str``: "" lets it pass, a text holds it
back as a draft with that reason. A gate that raises fails the job: the gate is closed, not open, when in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings

if TYPE_CHECKING:
    from PIL import Image


def not_blank(image: Image.Image, measurements: Mapping[str, float]) -> str:
    """Hold back pictures of one flat colour: nothing to review in them."""
    lowest_highest = image.convert("L").getextrema()
    low, high = int(lowest_highest[0]), int(lowest_highest[1])  # type: ignore[arg-type]
    if high - low < 8:
        return _("The picture is blank: all pixels have nearly the same brightness.")
    return ""


def ask_gates(image: Image.Image, measurements: Mapping[str, float]) -> str:
    """The first gate's reason to hold the picture back, or ""."""
    for path in app_settings.GATES:
        reason = import_string(path)(image, measurements)
        if reason:
            return str(reason)
    return ""
