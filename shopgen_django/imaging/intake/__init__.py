"""Safe intake of pictures that strangers send.

``inspect`` looks at a file without decoding it (for the web request), ``normalise`` decodes it and makes it anew (for a
worker; ``decode`` stops before the second half), ``normalise_bounded`` does that in a child process with a time and a
memory limit. All raise
:class:`IntakeError` with a stable ``code`` for a file that is refused, and nothing else for any content whatsoever.
"""

from __future__ import annotations

from .bounded import normalise_bounded
from .contracts import ERROR_CODES, Inspection, IntakeError, IntakeLimits, NormalisedImage
from .inspecting import inspect
from .normalising import decode, normalise

__all__ = [
    "ERROR_CODES",
    "Inspection",
    "IntakeError",
    "IntakeLimits",
    "NormalisedImage",
    "decode",
    "inspect",
    "normalise",
    "normalise_bounded",
]
