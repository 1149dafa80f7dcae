"""The quality gate: callables asked about each result before a reviewer sees it.

``SHOPGEN["GATES"]`` lists dotted paths of ``gate(image, measurements) -> str``: "" lets it pass, a text holds it
back as a draft with that reason. A gate that raises, or answers anything but a text, fails the job: the gate is
closed, not open, when in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import PermanentError

if TYPE_CHECKING:
    from PIL import Image


def not_blank(image: Image.Image, measurements: Mapping[str, float]) -> str:
    """Hold back pictures of one flat colour: nothing to review in them."""
    if all(_contrast(ground) < 8 for ground in _on_black_and_white(image)):
        return _("The picture is blank: all pixels have nearly the same brightness.")
    return ""


def _on_black_and_white(image: Image.Image) -> list[Image.Image]:
    """What is seen of the picture: a white shirt on nothing shows on black, colours under full transparency never."""
    from PIL import Image

    if not image.has_transparency_data:
        return [image]
    seen = image.convert("RGBA")
    return [Image.alpha_composite(Image.new("RGBA", seen.size, ground), seen) for ground in ("black", "white")]


def _contrast(image: Image.Image) -> int:
    lowest_highest = image.convert("L").getextrema()
    return int(lowest_highest[1]) - int(lowest_highest[0])  # type: ignore[arg-type]


def ask_gates(image: Image.Image, measurements: Mapping[str, float]) -> str:
    """The first gate's reason to hold the picture back, or ""."""
    for path in app_settings.GATES:
        reason = import_string(path)(image, measurements)
        if not isinstance(reason, (str, Promise)):
            # False from a gate that was written as a yes-or-no question must not read as "nothing to object to".
            raise PermanentError(
                _('The gate %(path)s answered %(answer)r. A gate returns a text: "" to let the picture pass, or the '
                  "reason to hold it back.") % {"path": path, "answer": reason},
                code="gate_broken",
            )
        if str(reason):
            return str(reason)
    return ""
