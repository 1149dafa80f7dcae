"""While a job runs: its lease is renewed, its progress written down, and word of a cancel passed on.

Progress comes from the operation through :class:`JobMonitor`; each write renews the lease as well. A thread, one per
worker process and awake only while a job runs, renews the lease of operations that are silent for a while. It stops
when the operation has given no sign for ``STALL_SECONDS``, so that a hung worker loses its job.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import JobCancelled, LeaseLost, WorkerDraining

from . import drain
from .lease import Beat, Lease, beat

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 1.0
"""Seconds between two progress writes of one job, at least: each is an UPDATE."""


class JobMonitor:
    """The running operation's line to the job row. ``report`` and ``check`` are what its context offers."""

    def __init__(
        self, lease: Lease, *, clock: Callable[[], float] = time.monotonic,
        out_of_time: Callable[[], bool] = drain.out_of_time,
    ) -> None:
        self.lease = lease
        self._clock = clock
        self._out_of_time = out_of_time
        self._lock = threading.Lock()
        self._share: float | None = None
        self._stage: str | None = None
        self._verdict = Beat.HELD
        self._moved = self._written = self._looked = clock()

    def report(self, share: float, stage: str = "") -> None:
        """Progress in 0..1 and what is being done; written at most once a second."""
        self._share = min(1.0, max(0.0, float(share)))
        if stage:
            self._stage = stage
        self._moved = self._clock()
        if self._moved - self._written >= WRITE_INTERVAL:
            self.renew()

    def check(self) -> None:
        """Raise JobCancelled, LeaseLost or WorkerDraining when the work should stop."""
        now = self._moved = self._clock()
        if now - self._written >= WRITE_INTERVAL:
            self.renew()
        if self._verdict is Beat.LOST:
            raise LeaseLost(_("Another worker has taken this job over."))
        if self._verdict is Beat.CANCELLED:
            raise JobCancelled(_("The job was cancelled."))
        if now - self._looked >= WRITE_INTERVAL / 4:
            self._looked = now
            if self._out_of_time():
                raise WorkerDraining(_("The worker is asked to stop."))

    def renew(self) -> None:
        """Renew the lease now. A database that is away is logged and tried again later: the lease decides."""
        with self._lock:
            self._written = self._clock()
            try:
                self._verdict = beat(self.lease, progress=self._share, stage=self._stage)
            except (DatabaseError, InterfaceError):
                logger.warning("The lease of job %s could not be renewed.", self.lease.job.pk, exc_info=True)
                connection.close()
        drain.sign_of_life()

    def due(self) -> float:
        """Seconds until the thread must renew the lease; 0 when now, infinite when the operation hangs."""
        now = self._clock()
        if self._verdict is Beat.LOST or now - self._moved > app_settings.JOBS["STALL_SECONDS"]:
            return float("inf")
        return max(0.0, self._written + app_settings.JOBS["HEARTBEAT_SECONDS"] - now)


class _Thread:
    """The heartbeat thread of this process. Started at the first job; sleeps without a timer between jobs."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._monitor: JobMonitor | None = None
        self._asleep = False
        self._thread = threading.Thread(target=self._run, name="shopgen-heartbeat", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Threads do not survive a fork; a child needs one of its own."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def set(self, monitor: JobMonitor | None) -> None:
        with self._changed:
            self._monitor = monitor
            # A thread that waits for the last job's beat wakes before this one's is due: no need to disturb it.
            if self._asleep:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                monitor = self._monitor
                wait = None if monitor is None else min(monitor.due(), app_settings.JOBS["HEARTBEAT_SECONDS"])
                if wait is None or wait > 0:
                    self._asleep = wait is None
                    self._changed.wait(wait)
                    self._asleep = False
                    continue
            try:
                monitor.renew()  # type: ignore[union-attr]
            except Exception:
                logger.exception("The heartbeat failed; the lease may be lost.")
            finally:
                # Of this thread alone; the next beat, some seconds later, opens another.
                connection.close()


_thread: _Thread | None = None
_starting = threading.Lock()


@contextmanager
def beating(monitor: JobMonitor) -> Iterator[None]:
    """Renew the lease from the thread as long as the block runs."""
    global _thread
    with _starting:
        if _thread is None or not _thread.usable:
            _thread = _Thread()
    _thread.set(monitor)
    try:
        yield
    finally:
        _thread.set(None)
