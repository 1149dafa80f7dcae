"""What has to be said about a model's licence before it is taken in."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState

_FORBIDDING = re.compile(r"(?i)(?<![a-z0-9])nc(?![a-z0-9])|non-?commercial|(?<![a-z])research")
"""In the names of licences that forbid commercial use: CC-BY-NC-4.0, FLUX-1-dev-Non-Commercial and the like."""


def require_usable_licence(licence: str, *, commercial: bool) -> None:
    """Raises InvalidParameters when ``commercial`` contradicts the licence's own name; InvalidState for one that
    forbids commercial use while ``ALLOW_NONCOMMERCIAL_MODELS`` is off."""
    if commercial and _FORBIDDING.search(licence):
        text = _("The licence %(licence)s forbids commercial use by its name. Say so.") % {"licence": licence}
        raise InvalidParameters(text, fields={"commercial": [text]})
    if not commercial and not app_settings.ALLOW_NONCOMMERCIAL_MODELS:
        raise InvalidState(
            _("The licence forbids commercial use. Set SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS'] if that is what you "
              "want."),
            code="licence_refused",
        )
