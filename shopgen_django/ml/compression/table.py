"""What compressing cost and gained: size, time, and how near the pictures are, for every stage side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shopgen_django.ml.metrics import kid, manifold
from shopgen_django.ml.networks import parameter_count
from shopgen_django.ml.pictures import png_bytes, sheet, to_pillow

from .features import Extractor
from .runtime import LABELS, LATENTS, onnx_session, psnr, to_bytes
from .teacher import Model, operations, pictures_of

TIMED = 41
"""Runs of which the median counts."""
STRIP = 12

Pictures = NDArray[np.float32]
Draw = Callable[[NDArray[np.float32], NDArray[np.int64]], Pictures]


@dataclass(slots=True, kw_only=True)
class Row:
    """One stage. Milliseconds are processor time of one thread, the median of 41 runs."""

    name: str
    bytes: int
    """Of the file with the weights."""
    parameters: int
    megaflops: float
    """For one picture."""
    ms_1: float = 0.0
    ms_16: float = 0.0
    psnr: float | None = None
    """dB against the teacher's pictures of the same vectors; None for the teacher."""
    kid_teacher: float = 0.0
    """Against pictures that the teacher makes from other vectors; the teacher's own row is the floor."""
    coverage_teacher: float = 0.0
    kid_photos: float | None = None
    coverage_photos: float | None = None
    difference: float | None = None
    """ONNX in floating point: largest difference from PyTorch."""


@dataclass(slots=True, kw_only=True)
class Contestant:
    """A stage that can draw."""

    row: Row
    draw: Draw
    made: Pictures = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.float32))


def torch_contestant(name: str, model: Model, size: int) -> Contestant:
    """A network on PyTorch; ``size`` is the bytes of its file."""
    network = model.network

    def draw(latents: NDArray[np.float32], labels: NDArray[np.int64]) -> Pictures:
        made = pictures_of(network, torch.from_numpy(latents), torch.from_numpy(labels), chunk=len(latents))
        return np.asarray(made.numpy())

    return Contestant(row=_row(name, model, size), draw=draw)


def onnx_contestant(name: str, model: Model, data: bytes, extra: int) -> Contestant:
    """An exported network on onnxruntime with one thread; ``extra`` are bytes of further files."""
    session = onnx_session(data, 1)
    names = {entry.name for entry in session.get_inputs()}

    def draw(latents: NDArray[np.float32], labels: NDArray[np.int64]) -> Pictures:
        given = {LATENTS: latents, LABELS: labels}
        made: Pictures = session.run(None, {key: given[key] for key in names})[0]
        return made

    return Contestant(row=_row(name, model, len(data) + extra), draw=draw)


def _row(name: str, model: Model, size: int) -> Row:
    return Row(
        name=name,
        bytes=size,
        parameters=parameter_count(model.network),
        megaflops=round(operations(model.network) / 1e6, 3),
    )


def measure(
    contestants: Sequence[Contestant],
    *,
    latents: NDArray[np.float32],
    labels: NDArray[np.int64],
    reference: NDArray[np.uint8],
    photos: NDArray[np.uint8] | None,
    extractor: Extractor,
) -> None:
    """Fill in the rows. The first contestant is the teacher.

    Args:
        contestants: all stages.
        latents: ``(n, latent)`` vectors that all draw from.
        labels: ``(n,)`` their categories.
        reference: ``(m, c, h, w)`` teacher's pictures from other vectors.
        photos: real pictures likewise, or None.
        extractor: judges likeness.
    """
    see = extractor.features
    seen = {"teacher": see(reference), "photos": None if photos is None else see(photos)}
    for contestant in contestants:
        parts = [contestant.draw(latents[at : at + 16], labels[at : at + 16]) for at in range(0, len(latents), 16)]
        contestant.made = np.concatenate(parts)
        row, features = contestant.row, see(to_bytes(contestant.made))
        if contestant is not contestants[0]:
            row.psnr = round(psnr(contestant.made, contestants[0].made), 2)
        row.kid_teacher, row.coverage_teacher = _likeness(seen["teacher"], features)
        if seen["photos"] is not None:
            row.kid_photos, row.coverage_photos = _likeness(seen["photos"], features)
    measure_time(contestants, latents, labels)


def _likeness(real: NDArray[np.float64] | None, made: NDArray[np.float64]) -> tuple[float, float]:
    assert real is not None
    spread = real.std(axis=0) + 1e-9
    centre = real.mean(axis=0)
    real, made = (real - centre) / spread, (made - centre) / spread
    return round(kid(real, made), 6), round(manifold(real, made).coverage, 4)


def measure_time(contestants: Sequence[Contestant], latents: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Processor time of this thread, all contestants in turn, so that a busy moment falls on each of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for batch, name in ((1, "ms_1"), (16, "ms_16")):
            z, y = (np.resize(a, (batch, *a.shape[1:])) for a in (latents, labels))
            times: list[list[float]] = [[] for _ in contestants]
            for turn in range(TIMED + 3):
                for contestant, found in zip(contestants, times, strict=True):
                    began = time.thread_time()
                    contestant.draw(z, y)
                    if turn >= 3:  # the first ones warm up
                        found.append(1e3 * (time.thread_time() - began))
            for contestant, found in zip(contestants, times, strict=True):
                setattr(contestant.row, name, round(float(np.median(found)), 3))
    finally:
        torch.set_num_threads(before)


def as_text(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    heads = ("", "file", "parameters", "MFLOP", "ms (1)", "ms (16)", "PSNR", "KID", "coverage", "KID", "coverage")
    body = [
        (
            row.name,
            f"{row.bytes / 1024:.0f} KiB",
            f"{row.parameters:,}",
            f"{row.megaflops:.2f}",
            f"{row.ms_1:.2f}",
            f"{row.ms_16:.2f}",
            "" if row.psnr is None else f"{row.psnr:.1f} dB",
            f"{row.kid_teacher:.4f}",
            f"{row.coverage_teacher:.2f}",
            "" if row.kid_photos is None else f"{row.kid_photos:.4f}",
            "" if row.coverage_photos is None else f"{row.coverage_photos:.2f}",
        )
        for row in rows
    ]
    columns = len(heads) if rows and rows[0].kid_photos is not None else len(heads) - 2
    widths = [max(len(line[n]) for line in [heads, *body]) for n in range(columns)]
    head = "  ".join(
        heads[n].ljust(widths[n]) if n == 0 else heads[n].rjust(widths[n]) for n in range(columns)
    )
    above = " " * (sum(widths[:7]) + 2 * 7) + "from teacher".rjust(widths[7] + widths[8] + 2)
    above += "from photos".rjust(widths[9] + widths[10] + 4) if columns > 9 else ""
    lines = [
        "  ".join(line[n].ljust(widths[n]) if n == 0 else line[n].rjust(widths[n]) for n in range(columns))
        for line in body
    ]
    return "\n".join([above.rstrip(), head, *lines])


def as_plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON values."""
    return [asdict(row) for row in rows]


def strip(contestants: Sequence[Contestant], *, columns: int = STRIP, scale: int = 1) -> bytes:
    """A PNG: one row of pictures for each contestant, the same random vector in each column."""
    pictures: list[Image.Image] = []
    for contestant in contestants:
        arrays = to_bytes(contestant.made[:columns])
        pictures += [to_pillow(array) for array in arrays]
    return png_bytes(sheet(pictures, columns=min(columns, len(contestants[0].made)), scale=scale))
