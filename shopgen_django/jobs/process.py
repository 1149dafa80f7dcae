"""Processes that do not outlive the one that started them (Linux; elsewhere nothing is promised)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from django.conf import settings

_PR_SET_PDEATHSIG = 1


def django_environment() -> dict[str, str]:
    """The environment in which ``python -m django`` finds this project's settings and packages."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": str(settings.SETTINGS_MODULE),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        # Waiting threads sleep instead of spinning: several processes share the cores.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def die_with(parent: int) -> None:
    """End this process and all that it forks, one by one, as soon as their parent ends, even by kill -9.

    ``parent``: the process id that our parent should have; when it is another one, it has ended already.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def arm_child(before: list[int]) -> None:
        arm()
        if before and os.getppid() != before[-1]:
            os._exit(1)

    forking: list[int] = []
    os.register_at_fork(
        before=lambda: forking.append(os.getpid()),
        after_in_parent=forking.clear,
        after_in_child=lambda: arm_child(forking),
    )
    arm()
    if os.getppid() != parent:
        raise SystemExit("The supervisor has ended; this worker does not start.")


def session_members(session: int) -> list[int]:
    """Process ids of a session (those that only wait to be collected left out)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 3 and fields[3] == str(session) and fields[0] not in {"Z", "X"}:
            found.append(int(entry.name))
    return found


def kill_session(session: int, *, patience: float = 5.0) -> bool:
    """Kill every process of a session at once; whether all are gone."""
    deadline = time.monotonic() + patience
    while True:
        try:
            os.killpg(session, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        members = session_members(session)
        if not members:
            return True
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
