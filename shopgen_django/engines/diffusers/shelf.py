"""The models that this process keeps loaded, for all engines together: memory is shared, so its care is as well."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from shopgen_django.engines.memory import free_bytes

from .folder import ModelFolder
from .memory import Plan, give_back

Key = tuple[str, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Loaded:
    """A model in memory. ``lock`` is held while it works: pipelines keep the state of a run in themselves."""

    folder: ModelFolder
    digest: str
    dtype: str
    device: str
    weights: int
    parts: dict[str, Any]
    plan: Plan
    pipelines: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    controls: tuple[str, str, Any] = ("", "", None)
    """The ControlNet that was used last: fingerprint and SHA-256 of its files, and itself."""
    adapter: tuple[str, Any] = ("", None)
    """The IP-Adapter that was used last: fingerprint of its files, and itself."""
    users: int = 0
    active: str = ""
    """The task whose pipeline holds the hooks that move parts to the device and back."""

    def close(self) -> None:
        self.controls = ("", "", None)
        self.adapter = ("", None)
        self.pipelines.clear()
        self.parts.clear()


class Held(Protocol):
    """What the shelf has to know of a model in memory, whichever engine has loaded it."""

    users: int

    @property
    def device(self) -> str: ...
    def close(self) -> None: ...


H = TypeVar("H", bound=Held)


class Shelf:
    """Loaded models, the least recently used released when room is needed."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, Any] = OrderedDict()
        self._lock = threading.RLock()

    @contextmanager
    def borrowed(
        self, key: Key, load: Callable[[], H], *, capacity: int, need: int, device: str
    ) -> Iterator[H]:
        """The model of ``key``, loaded first when it is not here; it stays while the block runs.

        Before loading, others are released until there are fewer than ``capacity`` and ``need`` bytes are free, or
        until only those are left that are at work. Two that ask at once load it once.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.make_room(capacity=capacity, need=need, device=device)
                entry = self._entries[key] = load()
            self._entries.move_to_end(key)
            entry.users += 1
        try:
            yield entry
        finally:
            with self._lock:
                entry.users -= 1

    def make_room(self, *, capacity: int, need: int, device: str) -> None:
        with self._lock:
            while self._entries:
                free = free_bytes(device)
                if len(self._entries) < capacity and (not free or free >= need):
                    return
                if not self._release_one():
                    return

    def release(self, keys: Callable[[Key], bool] = lambda key: True) -> None:
        """Let go of the idle models whose key ``keys`` accepts."""
        with self._lock:
            while self._release_one(keys):
                continue

    def _release_one(self, keys: Callable[[Key], bool] = lambda key: True) -> bool:
        for key, entry in self._entries.items():
            if not entry.users and keys(key):
                del self._entries[key]
                device = entry.device
                entry.close()
                del entry
                give_back(device)
                return True
        return False

    def __len__(self) -> int:
        return len(self._entries)


SHELF = Shelf()
