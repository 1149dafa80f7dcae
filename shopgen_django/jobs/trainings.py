"""Trainings that people asked for from a page: ``shopgen_worker`` starts each as a process of its own.

Such a process (``train_gan --run ID``) belongs to a session of its own and outlives the worker that started it, so
that restarting the workers or the web server costs nothing. What becomes of it is seen in three ways: it writes its
own row; the worker that started it collects its exit status; and any worker of the machine sees when it is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Case, When
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.models import RunState, TrainingRun

from .identity import is_dead, worker_name
from .process import django_environment
from .sweeper import RUN_SILENCE_SECONDS

TAIL_BYTES = 4_096
TAIL_LINES = 4
TAIL_CHARACTERS = 600
CONTAINER_PATIENCE = 8.0
"""Seconds that trainings get to save when the end of this process is the end of its container, and so of them."""
_SMALL_INITS = frozenset({"tini", "docker-init", "dumb-init", "catatonit", "conmon"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    process: subprocess.Popen[bytes]
    log: Path
    name: str


def log_path(run: TrainingRun) -> Path:
    """Where the process of ``run`` writes what it says."""
    return app_settings.root / "training" / "logs" / f"{run.pk}.log"


def log_tail(path: Path, *, lines: int = TAIL_LINES) -> str:
    """The last lines of a log; "" when there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


class Trainings:
    """Starts waiting trainings and estimates, and says how those that it started have ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: dict[str, _Child] = {}
        self._stopping = False

    def look(self) -> None:
        """Collect what has ended, then start what waits and may run. To be called every few seconds."""
        for key, child in list(self._children.items()):
            status = child.process.poll()
            if status is not None:
                del self._children[key]
                self._ended(key, child, status)
        if self._stopping:
            return
        mine = TrainingRun.objects.filter(host=_host()).exclude(process="")
        if not mine.filter(state=RunState.ESTIMATING).exists():
            self._start(RunState.ESTIMATING)
        if mine.filter(state=RunState.RUNNING).count() < int(app_settings.TRAINING["AT_ONCE"]):
            self._start(RunState.QUEUED)

    def _start(self, state: str) -> None:
        """Take the run that has waited longest in ``state`` and start its process."""
        silent = Now() - timedelta(seconds=RUN_SILENCE_SECONDS)
        waiting = TrainingRun.objects.filter(state=state).annotate(
            silent=Case(When(heartbeat_at__lt=silent, then=True), default=False)
        )
        for run in waiting.order_by("started_at"):
            if run.process and not run.silent and not is_dead(run.process):
                continue  # its estimate is still being made, perhaps on another machine
            if state == RunState.QUEUED and self._lies_elsewhere(run):
                continue
            begun = RunState.RUNNING if state == RunState.QUEUED else state
            values: dict[str, Any] = {"started_at": Now()} if begun == RunState.RUNNING and not run.images_seen else {}
            taken = TrainingRun.objects.filter(pk=run.pk, state=state, process=run.process).update(
                state=begun, process=worker_name(), host=_host(), pid=None, heartbeat_at=Now(), stage=_("starting"),
                **values,
            )
            if taken:
                self._spawn(run, estimate=state == RunState.ESTIMATING)
                return

    def _lies_elsewhere(self, run: TrainingRun) -> bool:
        """Whether the snapshots that it goes on from lie on another host's disk; begun here, it would lose them."""
        if not run.images_seen or run.host in ("", _host()) or Path(run.output_dir).is_dir():
            return False
        stage = _("waits for a worker on %(host)s, where its snapshots lie") % {"host": run.host}
        if run.stage != stage[:100]:
            TrainingRun.objects.filter(pk=run.pk, state=RunState.QUEUED).update(stage=stage[:100])
        return True

    def _spawn(self, run: TrainingRun, *, estimate: bool) -> None:
        command = [sys.executable, "-m", "django", "train_gan", "--run", str(run.pk)]
        log = log_path(run)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command + (["--dry-run"] if estimate else []), env=django_environment(), start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )
        except OSError as error:
            self._fail(run.pk, worker_name(), _("Its process could not be started: %(why)s") % {"why": error})
            return
        # The child puts its own name here as soon as it can; until then ours stands for it.
        self._children[str(run.pk)] = _Child(process=process, log=log, name=run.name)
        TrainingRun.objects.filter(pk=run.pk, process=worker_name()).update(pid=process.pid)
        what = "estimate of the training" if estimate else "training"
        self._say(f"{what} {run.name} started (process {process.pid})")

    def _ended(self, key: str, child: _Child, status: int) -> None:
        """Give a row that its process left as it was the reason why."""
        self._say(f"training {child.name}: process {child.process.pid} has ended ({status})")
        left = TrainingRun.objects.filter(pk=key, host=_host(), pid=child.process.pid)
        left.filter(state=RunState.QUEUED).update(process="", pid=None)
        rows = left.filter(state__in=(RunState.RUNNING, RunState.ESTIMATING))
        asked = rows.filter(stop_asked_at__isnull=False, state=RunState.RUNNING)
        end = {"finished_at": Now(), "process": "", "stage": ""}
        if status == -signal.SIGTERM:  # told to end before it could listen
            asked.update(state=RunState.STOPPED, **end)
            rows.filter(state=RunState.RUNNING).update(state=RunState.QUEUED, process="", pid=None, stage="")
            rows.filter(state=RunState.ESTIMATING).update(process="", pid=None, stage="")
        elif status < 0:
            rows.filter(state=RunState.RUNNING).update(state=RunState.LOST, error=_killed(-status), **end)
            rows.update(state=RunState.FAILED, error=_killed(-status), **end)
            # A sweep may have found it dead before; only whoever collects its status knows what it died of.
            left.filter(state=RunState.LOST).update(error=_killed(-status))
        else:
            told = log_tail(child.log)[-TAIL_CHARACTERS:]
            reason = _("Its process has ended with status %(status)d. What it said last:") % {"status": status}
            rows.update(state=RunState.FAILED, error=f"{reason}\n{told}", **end)

    def _fail(self, key: UUID, process: str, reason: str) -> None:
        TrainingRun.objects.filter(pk=key, process=process).update(
            state=RunState.FAILED, error=reason, finished_at=Now(), process="", stage=""
        )
        self._say(reason)

    def leave(self) -> None:
        """The worker is told to stop. Trainings go on, unless this is a container that ends with it."""
        self._stopping = True
        running = [child for child in self._children.values() if child.process.poll() is None]
        for child in running:
            if _container_ends_with_us():
                child.process.terminate()
            else:
                self._say(
                    f"training {child.name} goes on without this worker (process {child.process.pid}); it can be "
                    "stopped on its page"
                )

    def close(self) -> None:
        """In a container, wait until trainings have saved; they go on when a worker runs again."""
        deadline = time.monotonic() + (CONTAINER_PATIENCE if _container_ends_with_us() else 0.0)
        while time.monotonic() < deadline and any(c.process.poll() is None for c in self._children.values()):
            time.sleep(0.1)
        self.look()


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = str(number)
    if number == signal.SIGKILL:
        return _(
            "Its process was killed (SIGKILL). Mostly the machine had too little memory: choose smaller pictures, or "
            "give it more. What was saved is whole; the training can be resumed."
        )
    return _("Its process was ended by the signal %(name)s. What was saved is whole; the training can be resumed.") % {
        "name": name
    }


def _container_ends_with_us() -> bool:
    """Whether this is a container's main process, by itself or under one of the small inits that end with it."""
    if os.getpid() == 1:
        return True
    try:
        return os.getppid() == 1 and Path("/proc/1/comm").read_text(encoding="ascii").strip() in _SMALL_INITS
    except OSError:
        return False


def _host() -> str:
    return socket.gethostname()[:128]
