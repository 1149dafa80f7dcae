"""What an exception means for a job: a stable code, words for people, and whether another attempt can help."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from shopgen_django.exceptions import ShopgenError, StorageFull, TransientError
from shopgen_django.storage import DISK_FULL

from .queue import get_queue

_OUR_PURE_CODE = ("shopgen_django.imaging", "shopgen_django.ml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt. ``unexpected``: the log gets a traceback."""

    code: str
    detail: str
    permanent: bool = False
    unexpected: bool = False


def classify(error: BaseException) -> Failure:
    """The meaning of ``error``, which a job's work raised."""
    if isinstance(error, get_queue().timeout_exceptions):
        return Failure(code="timeout", detail=_("The job took longer than its time limit and was stopped."))
    if isinstance(error, ShopgenError):
        passing = isinstance(error, (TransientError, StorageFull))
        return Failure(code=error.code, detail=str(error), permanent=not passing)
    code = _code_of_pure_error(error)
    if code:
        return Failure(code=code, detail=str(error), permanent=True)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return Failure(code="storage_full", detail=_("The disk is full. Make room, then try again."))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure(
            code="out_of_memory", detail=_("The worker ran out of memory. Use smaller pictures or fewer at once.")
        )
    if isinstance(error, (OperationalError, InterfaceError)):
        return Failure(code="database_away", detail=_("The database did not answer."), unexpected=True)
    return Failure(
        code="internal_error", unexpected=True,
        detail=_("Something unexpected went wrong (%(kind)s). The worker's log says more.")
        % {"kind": type(error).__name__},
    )


def _code_of_pure_error(error: BaseException) -> str:
    """The stable code of an error that our Django-free code raised on purpose (bad picture, bad model); else ""."""
    if not (isinstance(error, Exception) and type(error).__module__.startswith(_OUR_PURE_CODE)):
        return ""
    code = getattr(error, "code", "")
    return code if isinstance(code, str) else ""
