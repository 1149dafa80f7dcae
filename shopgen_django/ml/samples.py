"""Sheets of samples: the same random vectors and categories every time, so that one can watch a picture grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import files
from .config import TrainConfig
from .data import Pictures
from .families.base import DataFacts, Generator, Sheet
from .folder import REALS
from .pictures import png_bytes, sheet, to_pillow
from .seeding import generator

COLUMNS = 8
MAX_ROWS = 12


class SampleGrid:
    """One row per category (up to :data:`MAX_ROWS`), or a square when there are none."""

    def __init__(self, config: TrainConfig, facts: DataFacts, network: Generator, device: torch.device) -> None:
        rows = min(MAX_ROWS, facts.categories) or COLUMNS
        self.rows = rows
        count = rows * COLUMNS
        row = torch.arange(count) // COLUMNS
        labels = row if facts.categories else torch.zeros_like(row)
        self._latents = network.draw(generator(config.seed, "grid"), labels).to(device)
        self._labels = labels.to(device)
        self.labels: list[int] | None = list(range(rows)) if facts.categories else None
        self._scale = max(1, 64 // facts.size)

    @torch.no_grad()
    def draw(self, network: nn.Module) -> tuple[bytes, float]:
        """The sheet as PNG, and the variety of the pictures within it (mean standard deviation per pixel)."""
        parts = [network(z, y) for z, y in zip(self._latents.split(COLUMNS), self._labels.split(COLUMNS), strict=True)]
        made: Tensor = torch.cat(parts).float().cpu()
        arrays = to_bytes(made)
        return self.sheet(list(arrays)), float(made.std(dim=0).mean())

    def sheet(self, arrays: list[NDArray[np.uint8]]) -> bytes:
        """Pictures in the layout of the samples."""
        return png_bytes(sheet([to_pillow(a) for a in arrays], columns=COLUMNS, scale=self._scale))

    def reals(self, pictures: Pictures) -> bytes:
        """Real pictures in the layout of the samples."""
        chosen: list[int] = []
        rows: list[int | None] = [*self.labels] if self.labels is not None else [None] * self.rows
        for label in rows:
            of_row = np.flatnonzero(pictures.labels == label) if label is not None else np.arange(len(pictures.labels))
            start = 0 if label is not None else len(chosen)
            chosen += [int(of_row[(start + column) % len(of_row)]) for column in range(COLUMNS)]
        return self.sheet([pictures.images[index] for index in chosen])


def to_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """``(n, c, h, w)`` in -1..1 to 8 bit."""
    scaled = pictures.detach().float().cpu().add(1.0).mul(127.5).round_().clamp_(0, 255)
    return scaled.to(torch.uint8).numpy()


def save_reals(folder: Path, pictures: Pictures, grid: Sheet) -> None:
    """``reals.png``: real pictures in the layout of the samples, to compare with."""
    files.write_bytes(folder / REALS, grid.reals(pictures))
