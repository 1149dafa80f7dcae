"""``curves.png`` from ``stats.jsonl``, drawn with Pillow so that no plotting library is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from . import files
from .pictures import png_bytes

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("losses", ("loss_d", "loss_g")),
    ("loss on photos held out, and on known ones", ("loss_held_out", "loss_known")),
    ("accuracy of the discriminator", ("accuracy_d",)),
    ("gradient norms (log)", ("grad_norm_d", "grad_norm_g")),
    ("distance to the photos (KID)", ("kid",)),
    ("share of the photos covered", ("coverage",)),
    ("pictures per second", ("images_per_second",)),
    ("PSNR of redrawn or restored photos (dB)", ("psnr",)),
)
COLOURS = ((31, 119, 180), (214, 100, 20))
WIDTH, HEIGHT, MARGIN = 480, 200, 44
INK, FAINT = (40, 40, 40), (220, 220, 220)


def draw_curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the panels that have at least two points; without any, nothing is written."""
    panels = []
    for title, names in PANELS:
        series = {name: _points(lines, name, logarithmic="(log)" in title) for name in names}
        series = {name: points for name, points in series.items() if len(points) >= 2}
        if series:
            panels.append(_panel(title, series))
    if not panels:
        return
    rows = -(-len(panels) // 2)
    image = Image.new("RGB", (2 * WIDTH, rows * HEIGHT), "white")
    for index, panel in enumerate(panels):
        image.paste(panel, ((index % 2) * WIDTH, (index // 2) * HEIGHT))
    files.write_bytes(path, png_bytes(image))


def _points(lines: Sequence[Mapping[str, Any]], name: str, *, logarithmic: bool) -> list[tuple[float, float]]:
    points = []
    for line in lines:
        value = line.get(name)
        if value is None or (logarithmic and value <= 0):
            continue
        points.append((float(line["images_seen"]), math.log10(value) if logarithmic else float(value)))
    return points


def _panel(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    every = [point for points in series.values() for point in points]
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    box = (MARGIN, 24, WIDTH - 12, HEIGHT - 24)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / max(1e-9, right - left)
        up = (y - low) / (high - low)
        return box[0] + across * (box[2] - box[0]), box[3] - up * (box[3] - box[1])

    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        _, y = place(left, value)
        draw.line((box[0], y, box[2], y), fill=FAINT)
        draw.text((2, y - 6), f"{10**value if '(log)' in title else value:.3g}", fill=INK)
    draw.text((box[0], 6), title, fill=INK)
    draw.text((box[0], box[3] + 8), f"{left:.0f}", fill=INK)
    draw.text((box[2] - 110, box[3] + 8), f"{right:.0f} pictures seen", fill=INK)
    for index, (name, points) in enumerate(series.items()):
        draw.line([place(x, y) for x, y in points], fill=COLOURS[index], width=2)
        if len(series) > 1:
            draw.text((box[2] - 170 + 90 * index, 6), name, fill=COLOURS[index])
    return image
