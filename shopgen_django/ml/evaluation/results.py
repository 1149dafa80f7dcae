"""What an evaluation found, as plain values for files, rows and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shopgen_django.ml.errors import UnlikeFigures

FORMAT = 1
EVALUATION = "evaluation.json"
REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The real pictures that a model was compared with."""

    digest: str
    """SHA-256 over files, labels and preparation: same digest, same pictures."""
    count: int
    """Pictures compared with."""
    kind: str
    """``train``: those that the model was trained on; ``given``: another set."""
    size: int
    """Side in pixels at which both were compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floored:
    """A figure with what real pictures score against real ones, at the number of pictures that halves have."""

    value: float
    """All pictures."""
    floor: float
    """Half of the real pictures against the other half."""
    at_floor: float
    """The model at the floor's number of pictures: what to hold beside the floor."""
    count: int
    """Pictures a side of ``floor`` and ``at_floor``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A step of a ladder: real pictures, spoilt in a known way, against other real ones."""

    ladder: str
    amount: float
    kid: float
    fid: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFigures:
    """How well a category is drawn."""

    name: str
    real: int
    made: int
    recognised: float | None
    """Share of the made ones that a classifier trained on real features takes for the category."""
    useful: float | None
    """Share of the real ones that a classifier trained on made features recognises."""
    variety: float | None
    """Mean distance between two made ones, divided by that between two real ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How near made pictures are to the photos the model was trained on."""

    ratio: float
    """Median distance from a made picture to its nearest training photo, divided by the same for ``yardstick``."""
    yardstick: str
    """``held_out``: photos never trained on; ``leave_one_out``: training photos among themselves."""
    close: float
    """Share of made pictures nearer to a photo than 19 of 20 of the yardstick's are; 0.05 when nothing is copied."""
    nearest: tuple[tuple[int, int, float], ...]
    """(made, training photo, distance / the yardstick's median) of the closest pairs, closest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All figures of one model (or folder of pictures) against one set of real pictures by one extractor."""

    model: str
    model_sha256: str
    count: int
    seed: int
    extractor: dict[str, Any]
    reference: Reference
    kid: Floored
    kid_error: float
    fid: Floored
    fid_fair: bool
    """Whether there are ten pictures a feature on either side; without, KID is the figure to read."""
    precision: Floored
    recall: Floored
    density: Floored
    coverage: Floored
    variety: float
    """Mean distance between two made pictures (of a category, where there are any), divided by real ones'."""
    detail: Floored
    """Power of fine detail, as a multiple of real pictures'."""
    kid_raw: float | None
    """KID of the newest weights without averaging, at the floor's number of pictures; None where they weren't kept."""
    memory: Memory | None
    double_pairs: int
    double_pairs_real: int
    """Doubles among as many real pictures."""
    support: float | None
    """Different pictures that the doubles speak for; None when none was found."""
    accuracy_real: float | None
    """A classifier trained on half of the real features, on the other half."""
    accuracy_made: float | None
    """Trained on real features, on made ones: are they what they should be?"""
    accuracy_reverse: float | None
    """Trained on made features, on real ones: do they show all that there is?"""
    categories: tuple[CategoryFigures, ...] = ()
    ladder: tuple[Rung, ...] = ()
    like_blur: float | None = None
    """Blur of the real pictures (sigma in pixels at 64 px) with the model's KID; None outside of the ladder."""
    like_noise: float | None = None
    """Noise (standard deviation, 1 = white) with the model's KID."""
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: numbers that are not finite become null."""
        cleaned = _clean(asdict(self))
        assert isinstance(cleaned, dict)
        return {"format": FORMAT, **cleaned}

    def short(self) -> dict[str, Any]:
        """What a model version's row keeps: the figures, and all that they are only comparable within."""
        return summary_of(self.as_dict())


def summary_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of ``evaluation.json`` that a row keeps."""
    plain = ("fid_fair", "kid_error", "variety", "double_pairs", "support", "accuracy_real", "accuracy_made",
             "accuracy_reverse", "like_blur", "like_noise", "kid_raw", "count", "seed", "extractor",
             "reference")  # fmt: skip
    found: dict[str, Any] = {name: values.get(name) for name in plain}
    for name in ("kid", "fid", "precision", "recall", "density", "coverage", "detail"):
        if name not in values:  # evaluated by an earlier version
            continue
        found[name] = values[name]["value"]
        found[f"{name}_floor"] = values[name]["floor"]
    found["fid_at_floor"] = values["fid"]["at_floor"]
    found["memory_ratio"] = values["memory"]["ratio"] if values.get("memory") else None
    return found


def require_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse to compare figures of two evaluations (plain values, whole or short).

    Raises:
        UnlikeFigures: another extractor, or another set of real pictures; the message names both.
    """
    ours, theirs = one["extractor"]["id"], other["extractor"]["id"]
    if ours != theirs:
        raise UnlikeFigures(
            f"These figures come from two extractors, {ours} and {theirs}, and can't be compared. Evaluate both models "
            "with the same --extractor."
        )
    mine, its = one["reference"], other["reference"]
    if mine["digest"] != its["digest"]:
        raise UnlikeFigures(
            f"These figures were measured against two sets of real pictures ({mine['count']} and {its['count']} of "
            "them) and can't be compared. Evaluate both models with the same --source."
        )


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
