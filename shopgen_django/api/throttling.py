"""Limits per user, the same for every process. Keyed by the user's key, so no forged header gets around them."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from shopgen_django.conf import app_settings
from shopgen_django.services.throttling import BlockCounter, Taken, take

SECONDS = 60
_SETTINGS = {
    "jobs": "JOBS_PER_MINUTE",
    "uploads": "UPLOADS_PER_MINUTE",
    "writes": "WRITES_PER_MINUTE",
    "reads": "READS_PER_MINUTE",
}

reads = BlockCounter()


class WindowThrottle(BaseThrottle):
    """Counts the request under the view's scope for this action; the answer's ``RateLimit-*`` headers come from it."""

    def __init__(self) -> None:
        self._taken: Taken | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        scope = view.throttle_scope()
        limit = limit_of(scope)
        key = user_key(request)
        if scope == "reads":
            taken = reads.take(scope=scope, key=key, limit=limit, seconds=SECONDS)
        else:
            taken = take(scope=scope, key=key, limit=limit, seconds=SECONDS)
        self._taken = view.rate = taken
        return taken.allowed

    def wait(self) -> float | None:
        return float(self._taken.reset) if self._taken else None


def take_more(view: Any, amount: int) -> None:
    """Count ``amount`` further units under the view's scope, all or none. Raises Throttled."""
    if amount <= 0:
        return
    scope = view.throttle_scope()
    view.rate = take(
        scope=scope, key=user_key(view.request), limit=limit_of(scope), seconds=SECONDS, amount=amount
    )
    if not view.rate.allowed:
        raise Throttled(wait=view.rate.reset)


def limit_of(scope: str) -> int:
    return int(app_settings.API[_SETTINGS[scope]])


def user_key(request: Request) -> str:
    return f"user:{request.user.pk}"
