"""An evaluation in plain words: one line a figure, with what real pictures score and what it means."""

from __future__ import annotations

from dataclasses import dataclass

from .results import Evaluation, Floored


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table."""

    name: str
    value: str
    floor: str
    """What real pictures score against real ones; empty where there is no such thing."""
    meaning: str


def rows(found: Evaluation) -> list[Row]:
    """The table of the report and of the command."""
    half = found.kid.count
    made = [
        Row(name="KID", value=f"{found.kid.value:.4f} ± {1.96 * found.kid_error:.4f}", floor=f"{found.kid.floor:.4f}",
            meaning="distance of the two sets, 0 when they can't be told apart; fair for few pictures. "
            "± is the 95 % interval"),
        Row(name="FID" if found.fid_fair else "FID (too few pictures)", value=f"{found.fid.value:.2f}",
            floor=f"{found.fid.floor:.2f} (the model at {half} pictures: {found.fid.at_floor:.2f})",
            meaning="the same with normal distributions; grows when there are few pictures, so look at the floor"),
        _share("Precision", found.precision, "made pictures that lie among real ones: 1 means that none is odd"),
        _share("Recall", found.recall, "real pictures that lie among made ones: 0 means that variety is missing"),
        Row(name="Density", value=f"{found.density.value:.2f}", floor=f"{found.density.floor:.2f}",
            meaning="how deep made pictures lie among real ones; far above 1 means all too ordinary"),
        _share("Coverage", found.coverage, "real pictures that have a made one near: what is not covered is missing"),
        Row(name="Variety", value=f"{found.variety:.0%}", floor="100%",
            meaning="how different two made pictures are, compared with two real ones of a category"),
        Row(name="Fine detail", value=f"{found.detail.value:.0%}", floor=f"{found.detail.floor:.0%}",
            meaning="power at the finest scales; far below 100% is soft, far above noise or a checkerboard"),
    ]  # fmt: skip
    if found.kid_raw is not None:
        made.insert(1, Row(
            name="KID, not averaged", value=f"{found.kid_raw:.4f}",
            floor=f"{found.kid.floor:.4f} (averaged: {found.kid.at_floor:.4f})",
            meaning="of the newest weights before they are averaged; averaging should be ahead",
        ))  # fmt: skip
    if found.memory is not None:
        by = {"held_out": "photos never trained on", "leave_one_out": "training photos among themselves"}
        made.append(
            Row(name="Nearest photo", value=f"{found.memory.ratio:.2f}", floor="1.00",
                meaning=f"distance to the nearest training photo, {by[found.memory.yardstick]} being 1; under 0.5 is "
                f"copying. {found.memory.close:.0%} lie closer than 19 of 20 of those do")
        )  # fmt: skip
    support = f"; speaks for about {found.support:.0f} different pictures" if found.support else ""
    made.append(
        Row(name="Doubles", value=str(found.double_pairs), floor=str(found.double_pairs_real),
            meaning=f"pairs that look the same among {min(1000, found.count)} pictures{support}")
    )  # fmt: skip
    if found.accuracy_made is not None and found.accuracy_reverse is not None:
        floor = f"{found.accuracy_real:.0%}" if found.accuracy_real is not None else ""
        made += [
            Row(name="Recognised", value=f"{found.accuracy_made:.0%}", floor=floor,
                meaning="made pictures that a classifier trained on real ones takes for their category"),
            Row(name="Useful", value=f"{found.accuracy_reverse:.0%}", floor=floor,
                meaning="real pictures that a classifier trained on made ones recognises; falls when something is "
                "missing"),
        ]  # fmt: skip
    return made


def ladder_words(found: Evaluation) -> str:
    """Where the model stands on the ladders."""
    if found.like_blur is None and found.like_noise is None:
        blurs = [rung for rung in found.ladder if rung.ladder == "blur"]
        worst = max(blurs, key=lambda rung: rung.amount, default=None)
        if worst is None or found.kid.value <= worst.kid:
            return "Its KID lies on none of the ladders."
        return f"It is further from the photos than the photos blurred by {worst.amount:g} px are."
    parts = []
    if found.like_blur is not None:
        parts.append(f"blurred by {found.like_blur:.1f} px (of a picture of 64 px)")
    if found.like_noise is not None:
        parts.append(f"with noise of {found.like_noise:.0%} of the way from black to white")
    return f"By KID it is as far from the photos as the photos are when they are {' or '.join(parts)}."


def _share(name: str, figure: Floored, meaning: str) -> Row:
    return Row(name=name, value=f"{figure.value:.2f}", floor=f"{figure.floor:.2f}", meaning=meaning)
