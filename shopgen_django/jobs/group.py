"""One worker group under a supervisor: a process of its own session that serves one queue, and its signs of life."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from shopgen_django.conf import app_settings

from .drain import RUN_DIR_VARIABLE, request_drain
from .identity import GROUP_VARIABLE, SUPERVISOR_VARIABLE
from .process import django_environment, kill_session
from .queue import get_queue

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class WorkerGroup:
    """Starts, watches and ends the worker processes of ``queue`` ("cpu" or "gpu")."""

    def __init__(self, queue: str, *, verbosity: int = 1) -> None:
        self.queue = queue
        self.token = ""
        self.starts = 0
        self.started = 0.0
        self._verbosity = verbosity
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    def start(self) -> None:
        """Start the processes, with a new token and a new folder for their signs of life."""
        self.token = secrets.token_hex(4)
        self._folder = Path(tempfile.mkdtemp(prefix=f"shopgen-{self.queue}-"))
        self.starts += 1
        self.started = time.monotonic()
        command = [sys.executable, "-m", "django", "shopgen_worker", "--serve", self.queue]
        command += ["--verbosity", str(self._verbosity)]
        self._process = subprocess.Popen(
            command, env=self._environment(), stdin=subprocess.DEVNULL, start_new_session=True
        )

    def _environment(self) -> dict[str, str]:
        threads = str(app_settings.threads)
        own = {
            RUN_DIR_VARIABLE: str(self._folder),
            GROUP_VARIABLE: self.token,
            SUPERVISOR_VARIABLE: str(os.getpid()),
            # A second guard: torch's CUDA check must not spoil the fork of the workers.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        }
        for name in THREAD_VARIABLES:
            own[name] = os.environ.get(name, threads)
        return {**django_environment(), **own, **get_queue().worker_environment(self.queue)}

    @property
    def pid(self) -> int | None:
        """Id of the group's first process (and of its session)."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Whether the group's first process runs."""
        return self._process is not None and self._process.poll() is None

    def last_sign(self) -> float | None:
        """When a worker last received a ring or was at work, as ``time.time()``; None: never."""
        if self._folder is None:
            return None
        times = []
        for path in self._folder.glob("alive-*"):
            try:
                times.append(path.stat().st_mtime)
            except FileNotFoundError:
                continue
        return max(times, default=None)

    def drain(self, *, seconds: float) -> None:
        """Ask the workers to take no more jobs and to give up running ones after ``seconds``."""
        if self._folder is not None:
            request_drain(self._folder, seconds=seconds)

    def end(self, *, patience: float) -> None:
        """Stop: politely (the first process alone is told), after ``patience`` seconds by force; nothing is left."""
        process = self._process
        if process is None:
            return
        if patience > 0 and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        kill_session(process.pid)
        process.wait()
        self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
