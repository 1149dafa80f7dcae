"""Processes that the demo starts, and the certainty that none of them stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

MARK = "SHOPGEN_DEMO_RUN"
DRAIN_SECONDS = 45
"""How long a child may take to end after SIGTERM; a worker finishes or hands back its job in this time."""


class ChildEnded(Exception):
    """A process that should still run has ended."""


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


@dataclass(kw_only=True)
class Children:
    """Every process of one run. All carry a mark in their environment, so that their own children are found too."""

    env: dict[str, str]
    cwd: Path
    _running: list[_Child] = field(default_factory=list)
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, name: str, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own (Ctrl-C in the terminal does not reach it)."""
        with log.open("wb") as handle:
            process = subprocess.Popen(
                command, env=self._marked(), cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=handle,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._running.append(_Child(name, process, log))
        return process

    def run(self, command: list[str], stdout: IO[bytes] | None = None) -> int:
        """Run to the end in the foreground; its exit status. An interrupted child is waited for, it saves its work."""
        process = subprocess.Popen(
            command, env=self._marked(), cwd=self.cwd, stdout=stdout, stderr=subprocess.STDOUT if stdout else None
        )
        try:
            return process.wait()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):  # Ctrl-C went to the child as well
                process.terminate()
            try:
                process.wait(DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise

    def require_running(self) -> None:
        """Raises :class:`ChildEnded` with its last words when one has ended by itself."""
        for child in self._running:
            if child.process.poll() is not None:
                raise ChildEnded(
                    f"The {child.name} ended with {child.process.returncode}:\n{last_lines(child.log)}"
                )

    def stop(self) -> str:
        """Ask each to end, the last started first; kill what is left of its session. Says how they ended."""
        ended = []
        for child in reversed(self._running):
            started = time.monotonic()
            if child.process.poll() is None:
                # Only the parent is asked: it knows how to let its children finish.
                child.process.terminate()
            try:
                child.process.wait(DRAIN_SECONDS)
                ended.append(f"{child.name} ended in {time.monotonic() - started:.0f} s")
            except subprocess.TimeoutExpired:
                ended.append(f"{child.name} did not end within {DRAIN_SECONDS} s and was killed")
            _kill_group(child.process.pid)
            child.process.wait()
        self._running.clear()
        for pid in self.left_over():
            _kill(pid)
        return ", ".join(ended) or "nothing was running"

    def left_over(self) -> list[int]:
        """Ids of processes that this run started, directly or not, and that are still there."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue  # ended meanwhile, or another user's
        return found

    def _marked(self) -> dict[str, str]:
        return {**self.env, MARK: self._mark}


def free_port(wanted: int) -> int:
    """``wanted`` unless something listens there already; then any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("No free port on 127.0.0.1.")


def last_lines(log: Path, lines: int = 15) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def _kill_group(pgid: int) -> None:
    try:
        os.killpg(pgid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
