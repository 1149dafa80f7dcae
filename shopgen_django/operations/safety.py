"""Checks of words and pictures that a shop plugs in. They fail closed: a check that breaks lets nothing through.

``SHOPGEN["SAFETY"]["PROMPT"]`` lists dotted paths of ``check(prompt, operation) -> str``, asked when a job is queued
and again with the words as they are sent to the model. ``["PICTURE"]`` lists ``check(image, operation) -> str``, asked
about each picture that a model made, before it is stored anywhere. "" lets it pass; a text refuses it with that reason.
:func:`unsafe_picture` is one for ``PICTURE`` that asks the engine ``safety``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines import get_engine
from shopgen_django.engines.errors import Blocked
from shopgen_django.engines.onnx_safety import SafetyEngine
from shopgen_django.exceptions import PermanentError

if TYPE_CHECKING:
    from PIL import Image


def check_words(prompt: str, operation: str) -> None:
    """Raises Blocked with the first reason against the words, PermanentError for a check that is broken."""
    _ask("PROMPT", prompt, operation)


def check_picture(image: Image.Image, operation: str) -> None:
    """Raises Blocked with the first reason against the picture, PermanentError for a check that is broken."""
    _ask("PICTURE", image, operation)


def unsafe_picture(image: Image.Image, operation: str) -> str:
    """For ``SAFETY["PICTURE"]``: the reason of the engine ``safety``, or "". Raises PermanentError: it can't judge."""
    engine = get_engine("safety")
    if not isinstance(engine, SafetyEngine):
        raise PermanentError(
            _("ENGINES['safety'] does not judge pictures: its BACKEND is no SafetyEngine."), code="wrong_engine"
        )
    return engine.reason_against(image)


def _ask(which: str, subject: Any, operation: str) -> None:
    for path in app_settings.SAFETY[which]:
        try:
            reason = import_string(path)(subject, operation)
        except Exception as error:
            raise PermanentError(
                _("The safety check %(path)s could not be asked (%(error)s), so nothing is let through.")
                % {"path": path, "error": f"{type(error).__name__}: {error}"},
                code="safety_broken",
            ) from error
        if not isinstance(reason, (str, Promise)):
            raise PermanentError(
                _('The safety check %(path)s answered %(answer)r. It returns a text: "" to let it pass, or the reason '
                  "against it. Nothing is let through.") % {"path": path, "answer": reason},
                code="safety_broken",
            )
        if str(reason):
            raise Blocked(str(reason))
