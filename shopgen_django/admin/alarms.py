"""What is, or was, wrong with a training run, in the words of somebody who doesn't train models for a living."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from shopgen_django.ml.alarms import MENDED, alarms_in

WORDS: dict[str, Promise] = {
    "collapse": _("The model makes nearly the same picture again and again, or none that is like any photo."),
    "d_won": _("One half of the model has become too strong; the half that draws learns nothing any more."),
    "d_overfit": _(
        "The model begins to learn its photos by heart. It counters this by itself; if this stays, more photos help "
        "most."
    ),
    "memorised": _(
        "Made pictures are nearly copies of training photos. Such states are not kept as the best one. More photos or "
        "a shorter training help."
    ),
    "diverged": _("The pictures have become much worse than they were."),
}


def alarms(values: Mapping[str, Any]) -> list[Promise | str]:
    """Sentences about the alarms that a tick's figures hold, and about those that were mended."""
    told: list[Promise | str] = [
        format_lazy(_("{what} (since {seen} pictures)"), what=WORDS[name], seen=f"{seen:,}")
        for name, seen in alarms_in(values).items()
    ]
    told += [
        format_lazy(
            _("{what} At {seen} pictures the best state was put back, and training went on more slowly from there."),
            what=WORDS[name], seen=f"{seen:,}",
        )
        for name, seen in alarms_in(values, MENDED).items()
    ]
    return told
