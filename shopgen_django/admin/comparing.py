"""Model versions beside each other, and one version's evaluation, as the admin's pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from shopgen_django.models import ModelVersion
from shopgen_django.services.evaluations import COMPARED, best_of, compare_versions, evaluation_of

from .folders import sample_url

MOST_COMPARED = 6
LABELS: dict[str, tuple[Promise, str]] = {
    "kid": (_("KID (0: can't be told apart)"), "{:.4f}"),
    "fid": (_("FID (grows when there are few pictures)"), "{:.2f}"),
    "coverage": (_("Coverage: photos with a made picture near"), "{:.0%}"),
    "recall": (_("Recall: photos among the made pictures"), "{:.0%}"),
    "precision": (_("Precision: made pictures among the photos"), "{:.0%}"),
    "density": (_("Density: how deep among the photos"), "{:.2f}"),
    "variety": (_("Variety, compared with the photos’"), "{:.0%}"),
    "memory_ratio": (_("Distance to the nearest photo (under 0.5: copying)"), "{:.2f}"),
    "double_pairs": (_("Doubles"), "{:.0f}"),
    "accuracy_made": (_("Recognised as their category"), "{:.0%}"),
    "accuracy_reverse": (_("Photos recognised by learning from them"), "{:.0%}"),
}


def evaluation_facts(version: ModelVersion) -> dict[str, Any] | None:
    """What a version's page shows of its evaluation; None when there was none."""
    found = evaluation_of(version)
    if found is None:
        return None
    facts = []
    for name in COMPARED:
        text = _text(name, found.get(name))
        floor = _text(name, found.get(f"{name}_floor"))
        if text:
            facts.append((LABELS[name][0], f"{text} ({floor})" if floor else text))
    return {
        "facts": facts, "count": found.get("count"), "real": found["reference"].get("count"),
        "trained_on": found["reference"].get("kind") == "train", "extractor": found["extractor"].get("id"),
        "at": str(found.get("evaluated_at") or ""),
    }  # fmt: skip


def comparison(keys: Sequence[str]) -> dict[str, Any]:
    """Context of the page that lays versions side by side, in the order asked for."""
    wanted = [key for text in keys[:MOST_COMPARED] if (key := _uuid(text)) is not None]
    rows = ModelVersion.objects.in_bulk(wanted)
    compared = compare_versions([rows[key] for key in wanted if key in rows])
    columns = [
        {"version": item.version, "why_not": item.why_not, "sample_url": sample_url(item.version)} for item in compared
    ]
    figures = []
    for name in COMPARED:
        best = best_of(compared, name)
        cells = []
        for item in compared:
            value = item.evaluation.get(name) if item.evaluation is not None else None
            cells.append({"text": _text(name, value) or "–", "best": best is not None and value == best})
        if any(cell["text"] != "–" for cell in cells):
            figures.append({"label": LABELS[name][0], "cells": cells})
    first = next((item.evaluation for item in compared if item.evaluation is not None), None)
    return {"columns": columns, "figures": figures, "first": first}


def _text(name: str, value: Any) -> str:
    return LABELS[name][1].format(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
