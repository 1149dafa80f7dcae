"""Starting the other processes of a run on this host.

The process that is asked to train stays process 0, so that its callbacks (and a host's database connection) are where
they were. The others are new interpreters that import no Django: ``python -m shopgen_django.ml.helper``.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist

from .config import TrainConfig
from .errors import ProcessLost
from .processes import ALONE, Processes
from .seat import Seat
from .together import PATIENCE_SECONDS, Together, join, on_this_host_only, store_of_launcher

STARTING_SECONDS = 300.0
ENDING_SECONDS = 20.0
LOOK_SECONDS = 0.1


@contextlib.contextmanager
def company(config: TrainConfig, device: torch.device, seat: Seat | None) -> Iterator[Processes]:
    """Those who train along: joined at ``seat`` where a launcher gave one, else started here, else nobody.

    Raises:
        ConfigError: more processes than GPUs, or a device that only one process can use.
        ProcessLost: the others didn't come.
    """
    if seat is not None and seat.count > 1:
        processes = join(seat, store_of_launcher(seat), device)
        try:
            yield processes
        finally:
            processes.close()
    elif seat is None and config.processes > 1:
        with helpers(config, device) as processes:
            yield processes
    else:
        yield ALONE


@contextlib.contextmanager
def helpers(config: TrainConfig, device: torch.device, *, patience: float = PATIENCE_SECONDS) -> Iterator[Together]:
    """Start ``config.processes - 1`` helpers and join them as process 0; at the end of the block they are gone.

    Raises:
        ProcessLost: one of them didn't start.
    """
    crew = _Crew(config, patience)
    try:
        with on_this_host_only():
            crew.wait_until_there()
            seat = Seat(rank=0, count=crew.count, local_rank=0, local_count=crew.count)
            processes = join(seat, crew.store, device, patience=patience, on_lost=crew.reason)
        try:
            yield processes
        finally:
            processes.close()
    finally:
        crew.close()


class _Crew:
    def __init__(self, config: TrainConfig, patience: float) -> None:
        self.count = config.processes
        self.store: dist.Store = dist.TCPStore(
            "127.0.0.1",
            0,
            self.count,
            is_master=True,
            timeout=datetime.timedelta(seconds=STARTING_SECONDS),
            wait_for_workers=False,
        )
        self._children: list[subprocess.Popen[bytes]] = []
        self._errors: list[IO[bytes]] = []
        try:
            for rank in range(1, self.count):
                self._start(config, rank, patience)
        except BaseException:
            self.close()
            raise

    def _start(self, config: TrainConfig, rank: int, patience: float) -> None:
        package = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._errors.append(errors)
        assert isinstance(self.store, dist.TCPStore)
        order: dict[str, Any] = {
            "config": config.as_dict(),
            "rank": rank,
            "count": self.count,
            "port": self.store.port,
            "patience": patience,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "shopgen_django.ml.helper"],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._children.append(child)
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # one that died already is seen below
            child.stdin.write(json.dumps(order).encode())

    def wait_until_there(self) -> None:
        """Wait until every helper has imported what it needs and called."""
        until = time.monotonic() + STARTING_SECONDS
        while not self.store.check([f"there/{rank}" for rank in range(1, self.count)]):
            if any(child.poll() is not None for child in self._children):
                raise ProcessLost(self.reason())
            if time.monotonic() > until:
                raise ProcessLost(f"The other processes did not start within {STARTING_SECONDS:.0f} seconds.")
            time.sleep(LOOK_SECONDS)

    def reason(self) -> str:
        """Why a helper is gone; empty when all are there."""
        until = time.monotonic() + ENDING_SECONDS  # the connection breaks before the process has ended
        while time.monotonic() < until and all(child.poll() is None for child in self._children):
            time.sleep(LOOK_SECONDS)
        ended = [(rank, child.poll()) for rank, child in enumerate(self._children, start=1)]
        for rank, status in sorted(ended, key=lambda one: one[1] == 1):  # 1: it may only have lost another one
            if status is None:
                continue
            told = self._last_words(rank)
            if status < 0:
                how = f"was ended by {signal.Signals(-status).name} (killed, or the machine ran out of memory)"
            else:
                how = told or f"ended with status {status}"
            return (
                f"Process {rank} of {self.count} {how}. What was saved is whole: run the same command again to go on, "
                "with the same or another number of processes."
            )
        return ""

    def _last_words(self, rank: int) -> str:
        handle = self._errors[rank - 1]
        handle.seek(0)
        lines = handle.read().decode(errors="replace").strip().splitlines()
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return f"stopped: {said[-1]}" if said else f"failed: {lines[-1][:300]}" if lines else ""

    def close(self) -> None:
        """Wait for the helpers, who end by themselves once process 0 is gone; end those who don't."""
        until = time.monotonic() + ENDING_SECONDS
        for child in self._children:
            try:
                child.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for handle in self._errors:
            handle.close()
