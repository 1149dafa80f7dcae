"""Which process holds a lease, told so exactly that another process on the machine can see that it has died.

A worker's name is ``host/boot/pid namespace/pid/start time/group``. Only a process of the same host, boot and pid
namespace can judge it; everybody else waits for the lease to run out. The group is what one supervisor started
together (:mod:`shopgen_django.jobs.supervisor`).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

GROUP_VARIABLE = "SHOPGEN_GROUP"
SUPERVISOR_VARIABLE = "SHOPGEN_SUPERVISOR_PID"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerName:
    """The parts of a worker's name."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    group: str

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.namespace}/{self.pid}/{self.started}/{self.group}"


def worker_name() -> str:
    """The name of this process (at most 128 characters)."""
    return _worker_name(os.getpid())


@lru_cache(maxsize=1)
def _worker_name(pid: int) -> str:
    return str(
        WorkerName(
            host=socket.gethostname()[:48].replace("/", "-"),
            boot=_boot(),
            namespace=_namespace(),
            pid=pid,
            started=_start_ticks(pid) or "0",
            group=os.environ.get(GROUP_VARIABLE, "")[:16],
        )
    )


def parse_name(text: str) -> WorkerName | None:
    """The parts of a name that :func:`worker_name` made; None for anything else."""
    parts = text.split("/")
    if len(parts) != 6 or not parts[3].isdigit():
        return None
    host, boot, namespace, pid, started, group = parts
    return WorkerName(host=host, boot=boot, namespace=namespace, pid=int(pid), started=started, group=group)


def is_dead(text: str) -> bool:
    """Whether the worker of this name has certainly ended.

    False when that can't be judged from here: another machine or container, or a system without ``/proc``.
    """
    name, own = parse_name(text), parse_name(worker_name())
    if name is None or own is None or own.started == "0" or name.started == "0":
        return False
    if (name.host, name.boot, name.namespace) != (own.host, own.boot, own.namespace):
        return False
    return _start_ticks(name.pid) != name.started


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "unknown"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").removeprefix("pid:").strip("[]")
    except OSError:
        return "0"


def _start_ticks(pid: int) -> str | None:
    """When the process began, in clock ticks since boot; None when there is none or it is only a corpse."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return None
    return fields[19]
