"""What a person sees of a run: a bar on a terminal, one plain line a tick elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any, Protocol

from .alarms import WORDS, alarms_in

SHOWN = (
    ("loss_d", "D loss {:.3f}"),
    ("loss_g", "G loss {:.3f}"),
    ("loss", "loss {:.4f}"),
    ("loss_held_out", "held out {:.4f}"),
    ("accuracy_d", "D right {:.0%}"),
    ("psnr", "PSNR {:.1f} dB"),
    ("images_per_second", "{:.0f} pictures/s"),
    ("diversity", "variety {:.0%}"),
    ("kid", "KID {:.4f}"),
    ("coverage", "coverage {:.0%}"),
    ("epsilon", "epsilon {:.2f}"),
)


class Output(Protocol):
    """A text stream."""

    def write(self, text: str, /) -> Any: ...
    def flush(self) -> Any: ...


class ProgressView:
    """Prints to ``stream``; ``terminal`` chooses the bar. Its methods fit the callbacks of ``train``."""

    def __init__(self, stream: Output, *, terminal: bool) -> None:
        self._stream = stream
        self._terminal = terminal
        self._figures = ""
        self._told: set[str] = set()
        """Alarms that were told and are still on."""
        self._open = False
        self._decoded = -1

    def line(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._open:
            self._stream.write("\r" + " " * (_columns() - 1) + "\r")
            self._open = False
        self._stream.write(text + "\n")
        self._stream.flush()

    def decoding(self, done: int, total: int) -> None:
        """Pictures read so far."""
        share = done / max(1, total)
        if self._terminal:
            if int(share * 100) != self._decoded:
                self._decoded = int(share * 100)
                self._bar(share, f"reading pictures {done}/{total}")
        elif done == total:
            self.line(f"read {total} pictures")

    def counting(self, done: int, total: int, things: str) -> None:
        """How many of a number of things are done: a bar on a terminal, elsewhere a line every tenth of them."""
        if self._terminal:
            self._bar(done / max(1, total), f"{done}/{total} {things}")
        elif done == total or done % max(1, total // 10) == 0:
            self.line(f"{done}/{total} {things}")

    def progress(self, share: float, images_seen: int, seconds: float) -> None:
        """Redraw the bar (nothing without a terminal)."""
        if self._terminal:
            left = seconds * (1.0 - share) / share if share > 0.005 else None
            times = clock(seconds) + (f", {clock(left)} left" if left is not None else "")
            self._bar(share, f"{images_seen} pictures, {times}{self._figures}")

    def tick(self, images_seen: int, seconds: float, share: float, values: Mapping[str, float]) -> None:
        """Figures of a tick."""
        shown = ", ".join(text.format(values[name]) for name, text in SHOWN if name in values)
        self._figures = ", " + shown
        for name in alarms_in(values).keys() - self._told:
            self.line(f"Careful: {WORDS[name]}")
        self._told = set(alarms_in(values))
        if not self._terminal:
            self.line(f"{share:4.0%}  {images_seen} pictures seen in {clock(seconds)}, {shown}")

    def close(self) -> None:
        """Leave the bar's line."""
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
            self._open = False

    def _bar(self, share: float, text: str) -> None:
        width = _columns() - 1
        cells = max(10, min(30, width // 4))
        full = int(min(1.0, share) * cells)
        drawn = f"[{'#' * full}{'.' * (cells - full)}] {min(1.0, share):4.0%} {text}"
        self._stream.write("\r" + drawn[:width].ljust(width))
        self._stream.flush()
        self._open = True


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``; with hours when there are any."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _columns() -> int:
    return max(40, shutil.get_terminal_size((100, 24)).columns)
