"""Decode in a child process that may not take more than so much time and memory.

A decoder is C code fed with bytes from strangers: the walkers keep the known traps away; this is the second wall.
A child is started with ``subprocess``, not ``multiprocessing``, because workers of a task queue are often daemonic and
must not fork. Starting it costs about a tenth of a second, decoding an ordinary photo a hundredth of that: what
strangers send gets a child of its own, many files of one trusted owner may share one (:class:`BoundedDecoder`). The
worker survives a crash of the decoder. Limits on address space and CPU time are set where the platform has them
(Linux, the BSDs; macOS ignores the first); the time limit holds everywhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .contracts import Inspection, IntakeError, IntakeLimits, NormalisedImage, Source
from .inspecting import read_source

__all__ = ["BoundedDecoder", "normalise_bounded"]

_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_OUT_OF_MEMORY = 77
"""Exit status of a child that ran out of the memory it was given."""
_MANY = "--many"
_LENGTH_BYTES = 8
_PICTURES_PER_CHILD = 200
"""Then a fresh one: what decoders leave behind in memory does not add up."""


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
    command = [executable or sys.executable, "-m", f"{__package__}.child", json.dumps(asdict(limits))]
    try:
        child = subprocess.run(
            command, input=data, capture_output=True, timeout=limits.decode_seconds, env=_environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _over_limit(f"longer than {limits.decode_seconds:g} seconds") from error
    if child.returncode != 0:
        raise _fault(child.returncode, child.stderr, limits)
    line, _, picture = child.stdout.partition(b"\n")
    return _read_answer(json.loads(line), picture)


class BoundedDecoder:
    """``normalise_bounded`` for many files, in one child as long as it lives; a context manager.

    The limits hold for each file. A file that breaks one, or crashes the decoder, costs the child: the next file gets
    another. For files of one owner: a child that some file has taken over could answer wrongly for the next.
    """

    def __init__(self, limits: IntakeLimits | None = None, *, executable: str | None = None) -> None:
        self._limits = limits or IntakeLimits()
        self._executable = executable or sys.executable
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._done = 0

    def __enter__(self) -> BoundedDecoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def normalise(self, source: Source) -> NormalisedImage:
        """As :func:`normalise_bounded`, and raises the same."""
        data = read_source(source, self._limits)
        if self._done >= _PICTURES_PER_CHILD:
            self._stop()
        child = self._child or self._start()
        late = threading.Event()
        watchdog = threading.Timer(self._limits.decode_seconds, _kill, (child, late))
        watchdog.daemon = True
        watchdog.start()
        try:
            answer, picture = _ask(child, data)
        except (OSError, EOFError) as error:
            watchdog.cancel()
            status, words = self._stop()
            if late.is_set():
                raise _over_limit(f"longer than {self._limits.decode_seconds:g} seconds") from error
            raise _fault(status, words, self._limits) from error
        except BaseException:
            self._stop()  # it is in the middle of an answer
            raise
        finally:
            watchdog.cancel()
        self._done += 1
        return _read_answer(answer, picture)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [self._executable, "-m", f"{__package__}.child", json.dumps(asdict(self._limits)), _MANY]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _stop
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=_environment()
        )
        self._done = 0
        return self._child

    def _stop(self) -> tuple[int, bytes]:
        """End the child if there is one; its exit status and its last words."""
        child, errors = self._child, self._errors
        self._child = self._errors = None
        if child is None or errors is None:
            return 0, b""
        with errors:
            for pipe in (child.stdin, child.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:
                    continue  # what was still to be written has nobody to read it
            try:
                status = child.wait(timeout=1)
            except subprocess.TimeoutExpired:
                child.kill()
                status = child.wait()
            errors.seek(0)
            return status, errors.read()


def _kill(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def _ask(child: subprocess.Popen[bytes], data: bytes) -> tuple[dict[str, Any], bytes]:
    """One file to the child, its answer back. Raises OSError or EOFError when the child has ended."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    child.stdin.flush()
    line = child.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    length = answer.pop("length")
    picture = child.stdout.read(length)
    if len(picture) < length:
        raise EOFError
    return answer, picture


def _environment() -> dict[str, str]:
    """Only what a Python needs; one thread, so that NumPy's thread pools do not claim the address space."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
    return kept | {
        "PYTHONPATH": os.pathsep.join(_search_path()), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"
    }


def _fault(status: int, words: bytes, limits: IntakeLimits) -> IntakeError | RuntimeError:
    """What it means that a child has ended with this status before it has answered."""
    if status == _OUT_OF_MEMORY:
        return _over_limit(f"more than {limits.decode_bytes / 2**20:.0f} MiB of memory")
    if status < 0:
        if -status == getattr(signal, "SIGXCPU", None):
            return _over_limit(f"longer than {limits.decode_seconds:g} seconds")
        return IntakeError("decode_limit", f"The picture made its decoder stop (signal {-status}).")
    said = words.decode("utf-8", "replace").strip()[-2000:]
    return RuntimeError(f"The decoding process failed with status {status}: {said}")


def _over_limit(what: str) -> IntakeError:
    return IntakeError("decode_limit", f"Reading the picture takes {what}.")


def _search_path() -> list[str]:
    """This package's home first, then where the running process finds its libraries."""
    return [str(_PACKAGE_ROOT), *(entry for entry in sys.path if entry and entry != str(_PACKAGE_ROOT))]


def _read_answer(fields: dict[str, Any], data: bytes) -> NormalisedImage:
    if "error" in fields:
        raise IntakeError(**fields["error"])
    inspection = fields.pop("inspection")
    inspection["warnings"] = tuple(inspection["warnings"])
    fields["changes"] = tuple(fields["changes"])
    return NormalisedImage(data=data, inspection=Inspection(**inspection), **fields)
