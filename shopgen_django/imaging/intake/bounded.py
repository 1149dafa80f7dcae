"""Decode in a child process that may not take more than so much time and memory.

A decoder is C code fed with bytes from strangers: the walkers keep the known traps away; this is the second wall.
A child is started with ``subprocess``, not ``multiprocessing``, because workers of a task queue are often daemonic and
must not fork. It costs about a tenth of a second per picture and also survives a crash of the decoder. Limits on
address space and CPU time are set where the platform has them (Linux, the BSDs; macOS ignores the first); the time
limit holds everywhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .contracts import Inspection, IntakeError, IntakeLimits, NormalisedImage, Source
from .inspecting import read_source

__all__ = ["normalise_bounded"]

_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_OUT_OF_MEMORY = 77
"""Exit status of a child that ran out of the memory it was given."""


def normalise_bounded(
    source: Source, limits: IntakeLimits | None = None, *, executable: str | None = None
) -> NormalisedImage:
    """As ``normalise``, in a child process within ``limits.decode_seconds`` and ``limits.decode_bytes``.

    Raises :class:`IntakeError` as ``normalise`` does, and with code ``decode_limit`` when the child ran out of time or
    memory or its decoder crashed. ``executable`` is the Python to start (default: the one that runs; name it when the
    host is an embedding server whose ``sys.executable`` is no Python). Raises ``RuntimeError`` with the child's own
    words when it failed for a reason that is not the file's.
    """
    limits = limits or IntakeLimits()
    data = read_source(source, limits)
    # Only what a Python needs; one thread, so that NumPy's thread pools do not claim the address space.
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
    environment |= {"PYTHONPATH": os.pathsep.join(_search_path()), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [executable or sys.executable, "-m", f"{__package__}.child", json.dumps(asdict(limits))]
    try:
        child = subprocess.run(
            command, input=data, capture_output=True, timeout=limits.decode_seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _over_limit(f"longer than {limits.decode_seconds:g} seconds") from error
    if child.returncode == _OUT_OF_MEMORY:
        raise _over_limit(f"more than {limits.decode_bytes / 2**20:.0f} MiB of memory")
    if child.returncode < 0:
        number = -child.returncode
        if number == getattr(signal, "SIGXCPU", None):
            raise _over_limit(f"longer than {limits.decode_seconds:g} seconds")
        raise IntakeError("decode_limit", f"The picture made its decoder stop (signal {number}).")
    if child.returncode != 0:
        words = child.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise RuntimeError(f"The decoding process failed with status {child.returncode}: {words}")
    return _read_answer(child.stdout)


def _over_limit(what: str) -> IntakeError:
    return IntakeError("decode_limit", f"Reading the picture takes {what}.")


def _search_path() -> list[str]:
    """This package's home first, then where the running process finds its libraries."""
    return [str(_PACKAGE_ROOT), *(entry for entry in sys.path if entry and entry != str(_PACKAGE_ROOT))]


def _read_answer(answer: bytes) -> NormalisedImage:
    line, _, data = answer.partition(b"\n")
    fields: dict[str, Any] = json.loads(line)
    if "error" in fields:
        raise IntakeError(**fields["error"])
    inspection = fields.pop("inspection")
    inspection["warnings"] = tuple(inspection["warnings"])
    fields["changes"] = tuple(fields["changes"])
    return NormalisedImage(data=data, inspection=Inspection(**inspection), **fields)
