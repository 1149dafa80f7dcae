"""How much memory is free, as far as the machine says."""

from __future__ import annotations

from pathlib import Path


def free_bytes(device: str) -> int:
    """Free memory of a device ("cpu", "cuda", "cuda:1", "mps"), as far as the machine says; 0: not known."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min((each for each in (_system_free(), _group_free()) if each), default=0)


def _system_free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = {name: rest for name, _colon, rest in (line.partition(":") for line in lines)}
    return int(found.get("MemAvailable", "0 kB").split()[0]) * 1024


def _group_free() -> int:
    """What the control group (a container's limit) still allows; 0 where there is no limit."""
    base = Path("/sys/fs/cgroup")
    try:
        limit = (base / "memory.max").read_text(encoding="ascii").strip()
        used = int((base / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return max(1, int(limit) - used) if limit.isdigit() else 0
