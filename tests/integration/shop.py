"""A shop in a folder of its own with real workers, for tests and benchmarks of the job engine."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class Shop:
    """``dsn`` of a PostgreSQL database, or None for SQLite in ``folder``."""

    def __init__(self, folder: Path, *, dsn: str | None = None, **env: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.notes_file = folder / "notes"
        self.log_file = folder / "worker.log"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SHOPGEN_")},
            "DJANGO_SETTINGS_MODULE": "tests.integration.settings",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "SHOPGEN_TEST_DIR": str(folder),
            "SHOPGEN_STUB_NOTES": str(self.notes_file),
            **env,
        }
        if dsn:
            self.env["SHOPGEN_TEST_POSTGRES"] = dsn

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments], env=self.env, cwd=self.folder, text=True,
            capture_output=True, check=check, timeout=120,
        )

    def migrate(self) -> None:
        self.manage("migrate", "--verbosity", "0")

    def submit(self, count: int = 1, *, transport: str = "stub", **params: Any) -> list[str]:
        """Queue ``count`` stub jobs in a process of its own; their ids (tags are t0, t1, ...)."""
        request = json.dumps({"count": count, "params": params, "transport": transport})
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.submit", request], env=self.env, cwd=self.folder, text=True,
            capture_output=True, check=False, timeout=300,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return list(json.loads(done.stdout.splitlines()[-1]))

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "django", "shopgen_worker", *arguments], env=self.env, cwd=self.folder,
                stdout=log, stderr=log, start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """End every worker that a test has left, by force."""
        for worker in self.workers:
            below = descendants(worker.pid)
            if worker.poll() is None:
                worker.kill()
            worker.wait()
            for pid in still_alive(below):
                with suppress(ProcessLookupError):
                    kill(pid)
            deadline = time.monotonic() + 10
            while still_alive(below) and time.monotonic() < deadline:
                time.sleep(0.05)

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, past Django (``%s`` for parameters)."""
        if self.dsn:
            import psycopg

            with psycopg.connect(self.dsn, autocommit=True) as connection:
                cursor = connection.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as connection, connection:
            return connection.execute(query.replace("%s", "?"), parameters).fetchall()

    def states(self) -> Counter[str]:
        return Counter(state for (state,) in self.sql("SELECT state FROM shopgen_job"))

    def jobs(self, columns: str) -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT {columns} FROM shopgen_job ORDER BY created_at, id")

    def busy_pids(self) -> list[int]:
        """Process ids of the workers that hold a lease."""
        rows = self.sql("SELECT worker FROM shopgen_job WHERE state = 'running'")
        return [int(name.split("/")[3]) for (name,) in rows]

    def notes(self) -> list[list[str]]:
        """What the stub operation left behind: [tag, "start" or "end", pid, time]."""
        if not self.notes_file.exists():
            return []
        return [line.split() for line in self.notes_file.read_text().splitlines()]

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def wait(self, condition: Callable[[], Any], *, seconds: float, what: str, every: float = 0.1) -> Any:
        """What ``condition`` returns once it is true; fails with the worker's log after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"Not within {seconds} s: {what}\n{self.states()}\n{self.log()[-4000:]}")
            time.sleep(every)

    def all_in(self, *states: str) -> bool:
        found = self.states()
        return bool(found) and set(found) <= set(states)

    def idle_worker_pids(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """django-q2's worker processes under a supervisor, without those that run a job now.

        The sentinel forks its workers before the monitor and the pusher, so they are its first children.
        """
        groups = _children(worker.pid)
        sentinels = [sentinel for group in groups for sentinel in _children(group)]
        count = int(self.env.get("SHOPGEN_TEST_WORKERS", "2"))
        workers = [pid for sentinel in sentinels for pid in sorted(_children(sentinel))[:count]]
        busy = set(self.busy_pids())
        return [pid for pid in workers if pid not in busy]


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def descendants(pid: int) -> list[int]:
    """Every process under ``pid``."""
    found = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def still_alive(pids: Iterable[int]) -> list[int]:
    """Those that still run (corpses that wait to be collected do not count)."""
    alive = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in {"Z", "X"}:
            alive.append(pid)
    return alive


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
