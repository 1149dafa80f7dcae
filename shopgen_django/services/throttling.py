"""How often is too often, counted where it can't be overshot.

A cache that is read, compared and written back lets parallel requests through together. Here one conditional UPDATE
takes from the allowance of a fixed window; its row count is the answer. Frequent cheap requests take a block of the
allowance at once and spend it within the process, so that reading costs one write per block and still no process can
spend what another has taken (what is left of a block at the window's end is lost, never the other way round).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from django.db import IntegrityError, transaction
from django.db.models import F

from shopgen_django.models import RateWindow

# Each further try means that another request has just been served; so many in a row do not happen.
_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the counter said: whether there was room, what is left in this window, seconds until the next one."""

    allowed: bool
    limit: int
    remaining: int
    reset: int


def take(*, scope: str, key: str, limit: int, seconds: int = 60, amount: int = 1) -> Taken:
    """Take ``amount`` from the ``limit`` that ``key`` has for ``scope`` in each window of ``seconds``.

    All of ``amount`` or nothing is taken. Refused amounts don't count.
    """
    now = time.time()
    window = int(now // seconds)
    reset = max(1, int((window + 1) * seconds - now) + 1)
    rows = RateWindow.objects.filter(scope=scope, key=key)
    refused = Taken(allowed=False, limit=limit, remaining=0, reset=reset)
    for _attempt in range(_TRIES if amount <= limit else 0):
        # gte: a process whose clock runs ahead has opened the next window; ours lies in the past then.
        if rows.filter(window__gte=window, count__lte=limit - amount).update(count=F("count") + amount):
            break
        if rows.filter(window__lt=window).update(window=window, count=amount):
            break
        row = rows.values("window", "count").first()
        if row is not None and row["window"] >= window and row["count"] > limit - amount:
            return replace(refused, remaining=max(0, limit - row["count"]))
        if row is None and _opened(scope, key, window, amount):
            break
        # Otherwise another request has changed the row between our statements: look again.
    else:
        return refused
    return replace(refused, allowed=True, remaining=_remaining(scope, key, limit))


def _opened(scope: str, key: str, window: int, amount: int) -> bool:
    """Write the first row of this key; False when another request was faster."""
    try:
        with transaction.atomic():
            RateWindow.objects.create(scope=scope, key=key, window=window, count=amount)
    except IntegrityError:
        return False
    return True


def _remaining(scope: str, key: str, limit: int) -> int:
    used = RateWindow.objects.filter(scope=scope, key=key).values_list("count", flat=True).first() or 0
    return max(0, limit - int(used))


@dataclass(slots=True)
class _Block:
    window: int
    left: int
    beyond: int
    """What the row still had when the block was taken."""


class BlockCounter:
    """Allowances taken in blocks and spent within this process; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], _Block] = {}

    def take(self, *, scope: str, key: str, limit: int, seconds: int = 60) -> Taken:
        """Like :func:`take` for one request, but the row is only touched when the process's block is used up."""
        now = time.time()
        window = int(now // seconds)
        with self._lock:
            held = self._held.get((scope, key))
            if held is not None and held.window == window and held.left > 0:
                held.left -= 1
                reset = max(1, int((window + 1) * seconds - now) + 1)
                return Taken(allowed=True, limit=limit, remaining=held.left + held.beyond, reset=reset)
        for block in (max(1, limit // 60), 1):
            taken = take(scope=scope, key=key, limit=limit, seconds=seconds, amount=block)
            if taken.allowed:
                return self._keep((scope, key), window, block - 1, taken)
        return taken

    def _keep(self, name: tuple[str, str], window: int, amount: int, taken: Taken) -> Taken:
        with self._lock:
            if len(self._held) > 10_000:
                self._held = {other: held for other, held in self._held.items() if held.window == window}
            held = self._held.get(name)
            if held is not None and held.window == window:
                amount += held.left  # another thread has taken a block in the meantime
            self._held[name] = _Block(window, amount, taken.remaining)
        return replace(taken, remaining=amount + taken.remaining)

    def clear(self) -> None:
        """Forget every block (tests)."""
        with self._lock:
            self._held.clear()
