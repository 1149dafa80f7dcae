"""A process' place among those that train one run together; free of PyTorch, so that commands can ask at once."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A process' place among those of a run."""

    rank: int
    count: int
    local_rank: int
    """Its number on its host, from 0."""
    local_count: int
    """Processes of the run on its host."""


def seat_from_launcher() -> Seat | None:
    """The place that ``torchrun`` (or another launcher that sets the same variables) gave; None without one."""
    try:
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    except KeyError:
        return None
    return Seat(
        rank=rank,
        count=count,
        local_rank=int(os.environ.get("LOCAL_RANK", rank)),
        local_count=int(os.environ.get("LOCAL_WORLD_SIZE", count)),
    )
