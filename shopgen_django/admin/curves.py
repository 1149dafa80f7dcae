"""Curves of a training run as SVG, drawn on the server: no script, no library, any number of ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

WIDTH, HEIGHT = 560.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 8.0, 8.0, 22.0
MAX_POINTS = 400

PANELS: tuple[tuple[Promise, tuple[tuple[str, Promise], ...]], ...] = (
    (_("Losses"), (("loss_d", _("discriminator")), ("loss_g", _("generator")))),
    (_("Loss on photos held out, and on known ones"), (
        ("loss_held_out", _("held out")), ("loss_known", _("known")), ("loss_base", _("without the LoRA")),
    )),
    (_("Right answers of the discriminator"), (("accuracy_d", _("share")),)),
    (_("Variety of the samples"), (("diversity", _("share")),)),
    (_("Distance to the photos (KID, 0 is best)"), (("kid", _("KID")),)),
    (_("Share of the photos covered"), (("coverage", _("share")),)),
    (_("Pictures per second"), (("images_per_second", _("pictures/s")),)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve: ``points`` is the attribute of a polyline."""

    label: Promise
    points: str
    last: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A value on an axis, at a place of the drawing."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One drawing."""

    title: Promise
    lines: tuple[Line, ...]
    y_labels: tuple[Label, ...]
    x_labels: tuple[Label, ...]
    description: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT


def panels(ticks: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Panel]:
    """Drawings of those figures that at least two of the ticks (images seen, figures) have."""
    step = max(1, math.ceil(len(ticks) / MAX_POINTS))
    thinned = [*ticks[:-1:step], *ticks[-1:]]
    found = []
    for title, names in PANELS:
        series = [(label, _series(thinned, name)) for name, label in names]
        series = [(label, points) for label, points in series if len(points) > 1]
        if series:
            found.append(_panel(title, series))
    return found


def _series(ticks: Iterable[tuple[int, Mapping[str, Any]]], name: str) -> list[tuple[float, float]]:
    points = []
    for seen, values in ticks:
        value = values.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((float(seen), float(value)))
    return points


def _panel(title: Promise, series: list[tuple[Promise, list[tuple[float, float]]]]) -> Panel:
    xs = [x for _label, points in series for x, _y in points]
    ys = [y for _label, points in series for _x, y in points]
    left, right = min(xs), max(xs)
    low, high = min(ys), max(ys)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.0
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(TOP + (1 - (y - low) / (high - low)) * (HEIGHT - TOP - BOTTOM), 1),
        )

    lines = tuple(
        Line(
            label=label, number=number, last=f"{points[-1][1]:.3g}",
            points=" ".join("{},{}".format(*place(x, y)) for x, y in points),
        )
        for number, (label, points) in enumerate(series, start=1)
    )
    marks = (low, (low + high) / 2, high)
    return Panel(
        title=title, lines=lines,
        y_labels=tuple(Label(text=f"{mark:.3g}", x=LEFT - 6, y=place(left, mark)[1]) for mark in marks),
        x_labels=(
            Label(text=f"{left:,.0f}", x=LEFT, y=HEIGHT - 6), Label(text=f"{right:,.0f}", x=WIDTH - RIGHT, y=HEIGHT - 6)
        ),
        description=", ".join(f"{label}: {points[-1][1]:.3g}" for label, points in series),
    )
