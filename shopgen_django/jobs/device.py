"""One job at a time on each GPU of this machine, also while an old and a new worker overlap."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shopgen_django.models import JobQueue

WAIT = 0.5


@contextmanager
def device_to_itself(queue: str, *, give_up: Callable[[], bool]) -> Iterator[bool]:
    """Hold the GPU that this worker sees; True once it is ours, False when ``give_up`` said so before.

    Queues without a device are free at once. The lock is the kernel's (flock): it ends with its process, however that
    ends.
    """
    if queue != JobQueue.GPU:
        yield True
        return
    import fcntl

    handle = os.open(_lock_file(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _acquire(handle, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, give_up)
    finally:
        os.close(handle)


def _acquire(handle: int, flock: Callable[[int, int], None], how: int, give_up: Callable[[], bool]) -> bool:
    while True:
        try:
            flock(handle, how)
        except BlockingIOError:
            if give_up():
                return False
            time.sleep(WAIT)
        else:
            return True


def _lock_file() -> Path:
    """One file per device that ``CUDA_VISIBLE_DEVICES`` shows to this worker."""
    shown = "".join(sign if sign.isalnum() else "-" for sign in os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    return Path(tempfile.gettempdir()) / f"shopgen-gpu-{shown or 'none'}.lock"
