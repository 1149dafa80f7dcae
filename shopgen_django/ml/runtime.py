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
    """``auto`` takes a CUDA GPU when there is one, else Apple's GPU, else the CPU.

    Raises:
        ConfigError: a GPU was asked for that is not there.
    """
    if name == "cpu":
        return torch.device("cpu")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name in there and not there[name]:
        kind = "CUDA GPU" if name == "cuda" else "Apple GPU"
        raise ConfigError(
            f"--device {name}: PyTorch sees no {kind} here. Use --device cpu, or install a build that has it."
        )
    return torch.device(name if name in there else next((kind for kind, is_there in there.items() if is_there), "cpu"))


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` takes bf16 on a CUDA GPU that has it, fp32 elsewhere."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def choose_compile(name: str) -> bool:
    """Whether to compile. ``auto`` doesn't: on CPUs it was measured not to pay, on GPUs it has not been measured."""
    return name == "on"


def check_compiler(backend: str) -> None:
    """Compile something small.

    Raises:
        ConfigError: this machine can't, mostly for want of a C++ compiler or of Triton.
    """
    try:
        torch.compile(lambda x: x * 2.0 + 1.0, backend=backend)(torch.zeros(2))
    except Exception as error:  # the compiler's errors have no common base
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"--compile on: PyTorch can't compile on this machine ({reason[:200]}).") from error


def prepare_device(device: torch.device) -> None:
    """Settings of PyTorch that hold for the whole process."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches have one size: the search for the fastest kernels pays


def describe_machine(device: torch.device, precision: str, processes: int, *, layout: str = ", channels last") -> str:
    """What a run computes on, in words."""
    if device.type == "cuda":
        what = f"cuda, {torch.cuda.get_device_name()}"
    else:
        threads = torch.get_num_threads()
        what = device.type if device.type == "mps" else f"cpu with {threads} thread{'s' if threads > 1 else ''}"
    several = f", {processes} processes" if processes > 1 else ""
    return f"{what} ({precision}{layout}){several}"


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
