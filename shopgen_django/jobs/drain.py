"""How a worker learns that it should stop: a file that its supervisor makes, and a parent that is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .identity import SUPERVISOR_VARIABLE

RUN_DIR_VARIABLE = "SHOPGEN_RUN_DIR"
DRAIN_FILE = "drain"


def run_dir() -> Path | None:
    """The supervisor's folder for this worker's group; None when no supervisor started us."""
    text = os.environ.get(RUN_DIR_VARIABLE)
    return Path(text) if text else None


def request_drain(folder: Path, *, seconds: float) -> None:
    """Ask the workers of ``folder`` to claim nothing more and to give up running jobs after ``seconds``."""
    partial = folder / f"{DRAIN_FILE}.new"
    partial.write_text(repr(time.monotonic() + seconds), encoding="ascii")
    partial.replace(folder / DRAIN_FILE)


def draining() -> bool:
    """Whether this worker should take no more jobs."""
    folder = run_dir()
    return folder is not None and (folder / DRAIN_FILE).exists()


def out_of_time() -> bool:
    """Whether the time that a draining worker had for its running job is over."""
    folder = run_dir()
    if folder is None:
        return False
    try:
        return time.monotonic() >= float((folder / DRAIN_FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def orphaned() -> bool:
    """Whether the supervisor that started this worker has died: a new one may be at work already."""
    text = os.environ.get(SUPERVISOR_VARIABLE, "")
    if not text.isdigit():
        return False
    if os.getppid() == 1 and int(text) != 1:
        return True
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def sign_of_life() -> None:
    """Tell the supervisor that this process received a ring or is at work (a file's time, no query)."""
    folder = run_dir()
    if folder is not None and folder.is_dir():
        (folder / f"alive-{os.getpid()}").touch()
