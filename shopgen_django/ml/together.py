"""Several processes that train one run: gloo on CPUs, NCCL on CUDA GPUs, on one host or several.

No wrapper is put around the networks (``DistributedDataParallel`` and gradients of gradients don't go together): each
process works out its rows of the batch, then gradients and figures of a step are added up in one message. Everything
that is decided by a clock or a wish is agreed upon before each step, so that all processes always do the same thing.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import ConfigError, Diverged, ProcessLost
from .processes import Processes
from .seat import Seat

PATIENCE_SECONDS = 1800.0
"""How long a process may be silent (process 0 evaluates while the others wait). One that dies is noticed at once."""
READING_SECONDS = 24 * 3600.0
"""The same while process 0 reads the pictures for the first time."""


class Together(Processes):
    """A process that has joined the others. Make it with :func:`join`."""

    def __init__(self, seat: Seat, device: torch.device, patience: float, on_lost: Callable[[], str] | None) -> None:
        super().__init__(seat.rank, seat.count)
        self._device = device
        self._on_lost = on_lost
        time = datetime.timedelta(seconds=patience)
        with self._watched():
            # Small decisions travel between CPUs: they must not wait for what a GPU still has to do.
            self._control = dist.new_group(backend="gloo", timeout=time)
            self._gradients = dist.new_group(backend="nccl", timeout=time) if device.type == "cuda" else self._control

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo and NCCL know no other kind
            if isinstance(error, torch.OutOfMemoryError):
                raise
            told = self._on_lost() if self._on_lost is not None else ""
            raise ProcessLost(
                told
                or f"Process {self.rank} of {self.count} has lost the others ({_first_line(error)}). Their own output "
                "says why. What was saved is whole: run the same command again to go on."
            ) from error

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._watched():
            dist.all_reduce(flat, group=self._gradients)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def largest(self, values: Sequence[float]) -> list[float]:
        told = torch.tensor(values, dtype=torch.float64)
        with self._watched():
            dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._control)
        found: list[float] = told.tolist()
        return found

    def from_first(self, value: Any) -> Any:
        plain = isinstance(value, bytes)
        data = b"" if self.rank else (value if plain else json.dumps(value).encode())
        head = torch.tensor([int(plain), len(data)], dtype=torch.int64)
        with self._watched():
            dist.broadcast(head, src=0, group=self._control)
            told = torch.empty(int(head[1]), dtype=torch.uint8)
            if self.rank == 0 and data:
                told.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            if len(told):
                dist.broadcast(told, src=0, group=self._control)
        if self.rank == 0:
            return value
        data = told.numpy().tobytes()
        return data if int(head[0]) else json.loads(data)

    def compare(self, tensors: Mapping[str, Tensor]) -> None:
        mine = torch.tensor(_fingerprint(tensors), dtype=torch.int64)
        all_of_them = [torch.zeros_like(mine) for _ in range(self.count)]
        with self._watched():
            dist.all_gather(all_of_them, mine, group=self._control)
        odd = [rank for rank, one in enumerate(all_of_them) if not torch.equal(one, all_of_them[0])]
        if odd:
            raise Diverged(
                f"The networks of process {', '.join(map(str, odd))} are no longer those of process 0. Training can't "
                "go on from here; the state saved last is whole."
            )

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


def join(
    seat: Seat,
    store: dist.Store,
    device: torch.device,
    *,
    patience: float = PATIENCE_SECONDS,
    on_lost: Callable[[], str] | None = None,
) -> Together:
    """Meet the other processes at ``store``.

    Args:
        seat: this process' place.
        store: where they all meet.
        device: what this process trains on; on CUDA, GPU number ``local_rank`` of the host.
        patience: seconds after which a silent process counts as lost.
        on_lost: gives the reason why another one is gone, when this one can know it.

    Raises:
        ConfigError: more processes than GPUs.
        ProcessLost: the others didn't come.
    """
    if device.type == "cuda":
        if seat.local_count > torch.cuda.device_count():
            raise ConfigError(
                f"{seat.local_count} processes, but this host has {torch.cuda.device_count()} GPUs; one process a GPU "
                "is the most that helps."
            )
        torch.cuda.set_device(seat.local_rank)
    elif device.type != "cpu":
        raise ConfigError(f"Several processes work on CPUs and CUDA GPUs, not on {device.type}.")
    try:
        dist.init_process_group(
            "gloo",
            store=store,
            rank=seat.rank,
            world_size=seat.count,
            timeout=datetime.timedelta(seconds=READING_SECONDS),
        )
    except RuntimeError as error:
        told = on_lost() if on_lost is not None else ""
        why = f"The {seat.count} processes did not find each other: {_first_line(error)}."
        raise ProcessLost(told or why) from error
    return Together(seat, device, patience, on_lost)


def store_of_launcher(seat: Seat) -> dist.Store:
    """Where processes started by ``torchrun`` meet: it keeps the place, others leave it to process 0."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        seat.count,
        is_master=seat.rank == 0 and not kept,
        timeout=datetime.timedelta(seconds=READING_SECONDS),
    )
    # After a restart by torchrun its store still holds the words of the processes before.
    return dist.PrefixStore(f"shopgen/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


@contextlib.contextmanager
def on_this_host_only() -> Iterator[None]:
    """Have gloo use the loopback interface: it would look the host's name up otherwise, which may not be known."""
    name = "GLOO_SOCKET_IFNAME"
    if name in os.environ or sys.platform not in ("linux", "darwin"):
        yield
        return
    os.environ[name] = "lo" if sys.platform == "linux" else "lo0"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _fingerprint(tensors: Mapping[str, Tensor]) -> list[int]:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if not name.endswith("num_batches_tracked"):  # counts a process' own parts of batches; nothing reads it
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    whole = digest.digest()
    return [int.from_bytes(whole[at : at + 8], "little", signed=True) for at in range(0, 32, 8)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
