"""What was measured about trained models: kept on their rows, and laid beside each other where that is allowed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from shopgen_django.ml.errors import UnlikeFigures
from shopgen_django.ml.evaluation.results import require_alike, summary_of
from shopgen_django.models import ModelVersion

from .figures import finite

KEY, RESTORING = "evaluation", "restoring"
COMPARED = ("kid", "fid", "coverage", "recall", "precision", "density", "variety", "memory_ratio", "double_pairs",
            "accuracy_made", "accuracy_reverse")  # fmt: skip
LOWER_IS_BETTER = frozenset({"kid", "fid", "double_pairs"})
BETTER = LOWER_IS_BETTER | {"coverage", "recall", "precision", "accuracy_made", "accuracy_reverse"}
"""Figures of which one direction is better; of the others (density, variety, distance to the photos) neither is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedVersion:
    """A version in a comparison. ``evaluation`` is None when there is none, or when it isn't like the others'."""

    version: ModelVersion
    evaluation: dict[str, Any] | None
    why_not: str


def find_version(text: str) -> ModelVersion | None:
    """The version that a person means: an id, ``NAME v3``, ``NAME:3``, or ``NAME`` for its newest."""
    try:
        return ModelVersion.objects.filter(pk=UUID(text)).first()
    except ValueError:
        pass
    newest = ModelVersion.objects.filter(name=text).order_by("-version").first()
    if newest is not None:
        return newest
    found = re.fullmatch(r"(.+?)(?:\s+v|:v?)(\d{1,9})", text.strip())
    return ModelVersion.objects.filter(name=found[1], version=int(found[2])).first() if found else None


def record_evaluation(*, version: ModelVersion, values: Mapping[str, Any]) -> ModelVersion:
    """Keep the figures of ``evaluation.json`` on the version's row, with all that they are only comparable within."""
    restorer = values.get("kind") == "restorer"  # its figures are no distances: kept whole, under another name
    kept = dict(values) if restorer else summary_of(values)
    with transaction.atomic():
        row = ModelVersion.objects.select_for_update().get(pk=version.pk)
        row.metrics = {
            **(row.metrics or {}),
            RESTORING if restorer else KEY: finite(
                {**kept, "evaluated_at": timezone.now().isoformat(timespec="seconds")}
            ),
        }
        row.save(update_fields=["metrics"])
    return row


def evaluation_of(version: ModelVersion) -> dict[str, Any] | None:
    """The figures on a version's row; None when it was never evaluated."""
    found = (version.metrics or {}).get(KEY)
    return found if isinstance(found, dict) and "extractor" in found and "reference" in found else None


def compare_versions(versions: Sequence[ModelVersion]) -> list[ComparedVersion]:
    """Lay versions beside each other: figures only where extractor and real pictures are those that most have."""
    known = [found for version in versions if (found := evaluation_of(version)) is not None]
    alike = Counter((found["extractor"].get("id"), found["reference"].get("digest")) for found in known)
    first = max(known, key=lambda found: alike[found["extractor"].get("id"), found["reference"].get("digest")],
                default=None)  # fmt: skip
    compared = []
    for version in versions:
        found, why_not = evaluation_of(version), ""
        if found is None:
            why_not = _("Not evaluated yet.")
        elif first is not None:
            try:
                require_alike(found, first)
            except UnlikeFigures:
                unlike = found["extractor"].get("id") != first["extractor"].get("id")
                why_not = (
                    _("Measured by another feature network; the figures can't be compared.") if unlike
                    else _("Measured against other real pictures; the figures can't be compared.")
                )  # fmt: skip
        compared.append(ComparedVersion(version=version, evaluation=None if why_not else found, why_not=why_not))
    return compared


def best_of(compared: Sequence[ComparedVersion], name: str) -> float | None:
    """The best value of a figure among those compared; None where they are alike or neither way is better."""
    values = [
        float(item.evaluation[name]) for item in compared
        if item.evaluation is not None and isinstance(item.evaluation.get(name), int | float)
    ]  # fmt: skip
    if len(set(values)) < 2 or name not in BETTER:
        return None
    return min(values) if name in LOWER_IS_BETTER else max(values)
