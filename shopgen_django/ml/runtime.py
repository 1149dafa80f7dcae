"""The machine: device, precision, threads, and the wish to stop."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import types
from collections.abc import Iterator

import torch

from .errors import ConfigError


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        return max(1, os.cpu_count() or 1)


def thread_count(wanted: int | None, processes: int = 1) -> int:
    """Threads for one of ``processes`` that share this host.

    ``wanted``, else ``OMP_NUM_THREADS``, else the cores that this process may use: that many for all of them together.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    total = wanted or (int(given) if given.isdigit() and int(given) > 0 else usable_cores())
    return max(1, total // processes)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch found no room for a tensor, on a GPU or on the CPU (where it has no exception of its own)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_memory(device: torch.device) -> None:
    """Give back what PyTorch keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def choose_device(name: str) -> torch.device:
    """``auto`` takes a CUDA GPU when there is one.

    Raises:
        ConfigError: ``cuda`` was asked for and there is none.
    """
    if name == "cpu":
        return torch.device("cpu")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("--device cuda: PyTorch sees no CUDA GPU here. Use --device cpu, or install a CUDA build.")
    return torch.device("cuda" if available else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` takes bf16 on a GPU that has it, fp32 elsewhere."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


class StopFlag:
    """Set by the first SIGINT or SIGTERM; the second one interrupts at once."""

    def __init__(self) -> None:
        self.reason = ""

    def __call__(self) -> bool:
        return bool(self.reason)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.reason:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Within the block SIGINT (Ctrl-C) and SIGTERM ask for an orderly stop; the old handlers come back after it."""
    flag = StopFlag()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, flag._handle)
    except ValueError:  # not the main thread: the host decides when to stop
        pass
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def peak_memory(device: torch.device) -> int:
    """Largest memory use so far in bytes: of the GPU, else of the process (0 where the system doesn't tell)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
