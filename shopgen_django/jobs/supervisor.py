"""Starts the worker groups, watches them and heals what django-q2 can't: ``manage.py shopgen_worker``.

A group is restarted as a whole when its first process ends, and when a ready job is left waiting although the group
is idle (killing an idle django-q2 worker can take the lock of the internal queue with it; the rest then waits for
ever). On SIGTERM running jobs get ``GRACE_SECONDS``, then go back to the queue without losing an attempt.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from shopgen_django.conf import app_settings
from shopgen_django.models import Job, JobState, WorkerBeat

from .group import WorkerGroup
from .identity import is_dead
from .queue import get_queue
from .rings import ring_missing
from .sweeper import recover, release_group, sweep
from .trainings import Trainings

logger = logging.getLogger(__name__)

T = TypeVar("T")

TICK = 0.5
RECOVER_EVERY = 2.0
TRAININGS_EVERY = 2.0
READY_FOR = 10.0
"""A job that has been ready for so long should have been taken by an idle group."""
SUSPICION = 12.0
"""Seconds between ringing an idle group once more and restarting it."""
RESTART_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
STABLE_AFTER = 60.0


@dataclass(slots=True, kw_only=True)
class Chore:
    """Something to do every so many seconds while the workers run.

    ``beside``: in a thread of its own, because it may take long; never twice at once.
    """

    run: Callable[[], object]
    seconds: float
    due: float = 0.0
    beside: bool = False
    thread: threading.Thread | None = None


class Supervisor:
    """Runs until it is told to stop, or with ``until_idle`` until no job is left."""

    def __init__(
        self, queues: Sequence[str], *, until_idle: bool = False, say: Callable[[str], None] = logger.info,
        verbosity: int = 1, chores: Sequence[Chore] = (), trainings: Trainings | None = None,
    ) -> None:
        self.groups = [WorkerGroup(queue, verbosity=verbosity) for queue in queues]
        self._until_idle = until_idle
        self._say = say
        self._wake = threading.Event()
        self._stops = 0
        self._suspected: dict[str, float] = {}
        self._pauses: dict[str, int] = {}
        self._restart_at: dict[str, float] = {}
        self._trainings = trainings
        every = app_settings.JOBS
        self._chores = [
            Chore(run=recover, seconds=RECOVER_EVERY),
            Chore(run=self._beat, seconds=float(every["HEARTBEAT_SECONDS"])),
            Chore(run=sweep, seconds=float(every["SWEEP_SECONDS"])),
            *chores,
        ]
        if trainings is not None:
            self._chores.append(Chore(run=trainings.look, seconds=TRAININGS_EVERY))

    def run(self) -> None:
        """Start everything, watch it, and leave nothing behind."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for group in self.groups:
                self._start(group)
            self._with_database(lambda: recover(older_than=0.0))
            while not self._stops and not (self._until_idle and self._with_database(self._idle)):
                self._wake.wait(TICK)
                self._tick()
            self._drain()
        finally:
            for group in self.groups:
                self._end(group, patience=0.0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        self._wake.set()

    def _tick(self) -> None:
        now = time.monotonic()
        for group in self.groups:
            self._watch(group, now)
        for chore in self._chores:
            if now >= chore.due:
                chore.due = now + chore.seconds
                self._do(chore)

    def _do(self, chore: Chore) -> None:
        if not chore.beside:
            self._with_database(chore.run)
        elif chore.thread is None or not chore.thread.is_alive():
            chore.thread = threading.Thread(target=self._do_beside, args=(chore.run,), daemon=True)
            chore.thread.start()

    def _do_beside(self, run: Callable[[], object]) -> None:
        try:
            self._with_database(run)
        finally:
            connection.close()

    def _beat(self) -> None:
        """Leave a sign of life of every group, idle or busy, where other machines can see it."""
        for group in self.groups:
            if group.alive():
                WorkerBeat.objects.update_or_create(
                    group=group.token,
                    defaults={
                        "queue": group.queue, "host": socket.gethostname()[:64], "pid": group.pid or 0,
                        "beat_at": Now(),
                        "workers": get_queue().worker_count(group.queue), "restarts": group.starts - 1,
                        "draining": self._stops > 0,
                    },
                )

    def _start(self, group: WorkerGroup) -> None:
        group.start()
        self._say(f"{group.queue}: workers started (process {group.pid})")

    def _watch(self, group: WorkerGroup, now: float) -> None:
        if group.pid is None:
            if now >= self._restart_at.get(group.queue, 0.0):
                self._start(group)
            return
        if not group.alive():
            self._restart(group, "its first process has ended")
        elif self._with_database(lambda: self._stalled(group, now)):
            self._restart(group, "a job is waiting and no worker takes it")
        elif now - group.started > STABLE_AFTER:
            self._pauses.pop(group.queue, None)

    def _restart(self, group: WorkerGroup, reason: str) -> None:
        count = self._pauses.get(group.queue, 0)
        pause = RESTART_PAUSES[min(count, len(RESTART_PAUSES) - 1)]
        self._pauses[group.queue] = count + 1
        self._restart_at[group.queue] = time.monotonic() + pause
        self._suspected.pop(group.queue, None)
        self._say(f"{group.queue}: restarting the workers, because {reason}" + (f" (in {pause:g} s)" if pause else ""))
        self._end(group, patience=0.0)

    def _stalled(self, group: WorkerGroup, now: float) -> bool:
        """Whether the group leaves a ready job lying. It is rung once more before it is judged."""
        last = group.last_sign()
        heard = last is not None and time.time() - last < READY_FOR
        # Files and clocks first: the database is only asked about a group that has been quiet.
        if heard or now - group.started < READY_FOR or self._busy_or_idle(group):
            self._suspected.pop(group.queue, None)
            return False
        since = self._suspected.get(group.queue)
        if since is None:
            self._suspected[group.queue] = now
            ring_missing(older_than=0.0)
            return False
        return now - since > SUSPICION

    def _busy_or_idle(self, group: WorkerGroup) -> bool:
        busy = Job.objects.leased().filter(worker__endswith=f"/{group.token}")
        return busy.exists() or not _waiting(group.queue).exists()

    def _idle(self) -> bool:
        queues = [group.queue for group in self.groups]
        return not Job.objects.active().filter(queue__in=queues).exists()

    def _drain(self) -> None:
        """Let running jobs end or give themselves back, then stop; a second signal stops at once."""
        grace = float(app_settings.JOBS["GRACE_SECONDS"])
        deadline = time.monotonic() + grace
        stops = self._stops
        if self._trainings is not None:
            self._trainings.leave()
        self._say("stopping" + (f": running jobs get up to {grace:g} seconds" if stops else ": no job is left"))
        for group in self.groups:
            # A fifth of the time is kept for jobs to notice and give themselves back.
            group.drain(seconds=grace * 0.8)
        while time.monotonic() < deadline and self._stops <= max(1, stops):
            if not self._with_database(self._running_here, default=True):
                break
            self._wake.clear()
            self._wake.wait(0.2)
        patience = 3.0 if self._stops <= max(1, stops) else 0.0
        for group in self.groups:
            self._end(group, patience=patience)
        if self._trainings is not None:
            self._with_database(self._trainings.close)
        self._say("stopped")

    def _running_here(self) -> bool:
        mine = Q()
        for group in self.groups:
            if group.alive():
                mine |= Q(worker__endswith=f"/{group.token}")
        if not mine:
            return False
        # Workers that got the signal as well (a whole control group was told) are not waited for.
        running = Job.objects.filter(mine, state=JobState.RUNNING).values_list("worker", flat=True)
        return any(not is_dead(worker) for worker in running)

    def _end(self, group: WorkerGroup, *, patience: float) -> None:
        if group.pid is None:
            return
        token = group.token
        group.end(patience=patience)
        given_back = self._with_database(lambda: release_group(token))
        self._with_database(WorkerBeat.objects.filter(group=token).delete)
        if given_back:
            self._say(f"{group.queue}: {given_back} running job(s) went back to the queue")

    def _with_database(self, ask: Callable[[], T], default: T | None = None) -> T | None:
        """The answer of ``ask``; ``default`` while the database is away (the workers are watched all the same)."""
        try:
            return ask()
        except (DatabaseError, InterfaceError):
            logger.warning("The supervisor could not ask the database; trying again.", exc_info=True)
            connection.close()
            return default
        except Exception:
            # One chore that fails must not take the workers down with it.
            logger.exception("The supervisor could not do one of its chores; trying again later.")
            return default


def _waiting(queue: str) -> QuerySet[Job]:
    """Jobs that have been ready, and rung for, long enough to have been taken."""
    long_ago = Now() - timedelta(seconds=READY_FOR)
    return Job.objects.ready(queue).filter(not_before__lt=long_ago, created_at__lt=long_ago)
