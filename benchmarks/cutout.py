"""How well cut-outs find products: ours beside what one would take instead, on photos and on composites.

    OMP_NUM_THREADS=1 python -m benchmarks.cutout --photos FOLDER [--objects DIR --grounds DIR] [--network FOLDER]
        [--methods NAME …] [--side 256] [--keep FILE] [--sheet FILE] [--write]

``--photos`` holds ``images/NAME.jpg`` and ``masks/NAME.png`` (8-bit, product over 127), none of which anything here was
trained on. ``--objects`` are PNGs with a true alpha, laid on a wall and on ``--grounds`` (see cutout_rivals). All
methods get the same pictures, shrunk to ``--side``; masks are compared at the reference's size. ``--keep`` holds every
single figure and is where an interrupted run goes on. ``--network`` is a folder of ``shopgen_model add``; rembg and
PyMatting are measured when they are installed. ``--write`` puts the tables into docs/benchmarks/pictures.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks import cutout_rivals as rivals
from shopgen_django.engines.cutout import Cutout
from shopgen_django.imaging.background import Ground, on_ground
from shopgen_django.imaging.cutout import Finder, cut_out
from shopgen_django.imaging.cutout.network import OnnxFinder
from shopgen_django.imaging.sheet import contact_sheet

Array = np.ndarray
Row = dict[str, Any]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "pictures.md"
RIVALS: dict[str, Callable[[], rivals.Method]] = {
    "GrabCut, rectangle": lambda: rivals.rectangle, "saliency + GrabCut": lambda: rivals.saliency,
    "saliency + GrabCut + PyMatting": rivals.matting, "rembg, u2netp": rivals.rembg,
    "rembg, u2netp, its matting": lambda: rivals.rembg(alpha_matting=True),
}  # fmt: skip
OURS = ("ours, classical", "ours, shipped network", "ours, u2netp")
EDGE = 2


def photos(folder: Path, side: int) -> Iterator[tuple[str, Image.Image, Array]]:
    names = sorted(path.stem for path in (folder / "masks").glob("*.png"))
    if not names:
        raise SystemExit(f"no masks/*.png in {folder}")
    for name in names:
        with Image.open(folder / "images" / f"{name}.jpg") as photo:
            image = photo.convert("RGB")
        with Image.open(folder / "masks" / f"{name}.png") as reference:
            truth = np.where(np.asarray(reference.convert("L")) > 127, 255, 0).astype(np.uint8)
        image.thumbnail((side, side), Image.Resampling.BOX)
        yield f"photo {name}", image, truth


def boundary(found: Array, truth: Array) -> float:
    """F of outline pixels that lie within EDGE pixels of the other outline."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE + 1, 2 * EDGE + 1))
    lines = [
        mask.astype(np.uint8) & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) for mask in (found, truth)
    ]
    near = [cv2.dilate(line, kernel) for line in lines]
    precision, recall = (
        float((line & other).sum() / max(1, line.sum())) for line, other in zip(lines, reversed(near), strict=True)
    )
    return 2 * precision * recall / max(1e-9, precision + recall)


def scored(alpha: Array, truth: Array) -> Row:
    alpha = cv2.resize(alpha, (truth.shape[1], truth.shape[0]), interpolation=cv2.INTER_LINEAR)
    found, true = alpha > 127, truth > 127
    error = np.abs(alpha.astype(np.float32) - truth) / 255
    return {
        "iou": float((found & true).sum() / max(1, (found | true).sum())), "edge": boundary(found, true),
        "mad": float(error.mean()), "sad": float(error.sum() / 1000),
    }  # fmt: skip


def method_of(name: str, network: Path | None) -> Callable[[Image.Image], tuple[Array, float | None]] | None:
    """What gives the alpha and how sure it is; None when something for it is not installed."""
    if name in OURS:
        finder: Finder | None = None
        if name == "ours, shipped network":
            finder = Cutout(MODEL="shipped").finder()
        elif name == "ours, u2netp":
            if network is None:
                return None
            finder = OnnxFinder(network)

        def ours(image: Image.Image) -> tuple[Array, float | None]:
            found = cut_out(image, finder=finder)
            return found.alpha, found.confidence

        return ours
    try:
        rival = RIVALS[name]()
    except ImportError as error:
        print(f"{name}: not measured ({error})", file=sys.stderr)
        return None
    return lambda image: (rival(image), None)


def auc(scores: Array, good: Array) -> float:
    """Chance that a good cut-out has the higher score of a good and a bad one (0.5 = useless)."""
    wins = [np.mean((score > scores[~good]) + 0.5 * (score == scores[~good])) for score in scores[good]]
    return float(np.mean(wins)) if wins and (~good).any() else float("nan")


def interval(gains: Array) -> str:
    """Mean of per-picture differences with the 95 % interval of a bootstrap."""
    drawn = np.random.default_rng(0).choice(gains, (2000, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def table(rows: dict[str, list[Row]], kinds: dict[str, str]) -> str:
    """``rows``: by method. ``kinds``: beginning of the pictures' names -> its title."""
    parts = []
    for kind, title in kinds.items():
        lines = [
            f"{title}:",
            "",
            "| | IoU | over 0.9 | outline (F, 2 px) | alpha off by | SAD, thousands | ms |",
            "|---" * 7 + "|",
        ]
        for name, all_rows in rows.items():
            some = [row for row in all_rows if row["picture"].startswith(kind)]
            if not some:
                continue
            mean = {key: float(np.mean([row[key] for row in some])) for key in ("iou", "edge", "mad", "sad", "seconds")}
            over = float(np.mean([row["iou"] > 0.9 for row in some]))
            bold = "**" if name in OURS else ""
            lines.append(
                f"| {bold}{name}{bold} | {mean['iou']:.3f} | {100 * over:.1f} % | {mean['edge']:.3f} "
                f"| {mean['mad']:.4f} | {mean['sad']:.2f} | {1000 * mean['seconds']:.0f} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def trust(rows: dict[str, list[Row]], kinds: dict[str, str]) -> str:
    lines = ["| | pictures | tells good from bad (AUC) | accepted at 0.5 | of these under 0.9 |", "|---" * 5 + "|"]
    for name in OURS:
        for kind, title in kinds.items():
            some = [row for row in rows.get(name, []) if row["picture"].startswith(kind)]
            if not some:
                continue
            sure, good = np.array([row["sure"] for row in some]), np.array([row["iou"] > 0.9 for row in some])
            taken = sure >= 0.5
            lines.append(
                f"| {name} | {title}, {int((~good).sum())} bad of {len(good)} | {auc(sure, good):.2f} "
                f"| {100 * taken.mean():.0f} % | {100 * np.mean(~good[taken]) if taken.any() else 0:.1f} % |"
            )
    return "\n".join(lines)


def gains(rows: dict[str, list[Row]], kinds: dict[str, str]) -> str:
    """What ours gain over others, a picture at a time."""
    pairs = [
        (OURS[1], OURS[0]), (OURS[1], "saliency + GrabCut"), (OURS[1], "saliency + GrabCut + PyMatting"),
        (OURS[2], OURS[1]), (OURS[2], "rembg, u2netp"), (OURS[2], "rembg, u2netp, its matting"),
    ]  # fmt: skip
    lines = ["| | | IoU | outline | alpha off by |", "|---" * 5 + "|"]
    for ours, other in pairs:
        for kind, title in kinds.items():
            each = [
                {row["picture"]: row for row in rows.get(name, []) if row["picture"].startswith(kind)}
                for name in (ours, other)
            ]
            if not each[0] or each[0].keys() != each[1].keys():
                continue
            cells = [
                interval(np.array([each[0][name][key] - each[1][name][key] for name in each[0]]))
                for key in ("iou", "edge", "mad")
            ]
            lines.append(f"| {ours}, over {other} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sheet(path: Path, names: list[str], rows: dict[str, list[Row]], options: argparse.Namespace) -> None:
    """Photo and cut-outs on white side by side, worst of the network that ships first."""
    found = {name: {row["picture"]: row for row in rows[name]} for name in names if name in OURS}
    pictures = {name: image for name, image, _truth in photos(options.photos, options.side)}
    by = OURS[1] if OURS[1] in found else next(iter(found))
    order = sorted(pictures, key=lambda picture: found[by][picture]["iou"])[: options.sheet_count]
    methods = {name: method_of(name, options.network) for name in found}
    cells, labels = [], []
    for picture in order:
        cells.append(pictures[picture])
        labels.append("photo")
        for name, method in methods.items():
            assert method is not None
            alpha, sure = method(pictures[picture])
            rgba = np.dstack([np.asarray(pictures[picture]), alpha])
            cells.append(on_ground(Image.fromarray(rgba, "RGBA"), Ground()) if alpha.any() else pictures[picture])
            labels.append(f"{name.removeprefix('ours, ')[:9]} {found[name][picture]['iou']:.2f} {sure:.2f}")
    contact_sheet(cells, columns=4 * (1 + len(methods)), cell=128, labels=labels).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--objects", type=Path)
    parser.add_argument("--grounds", type=Path)
    parser.add_argument("--each", type=int, default=4, help="composites of each object on each kind of ground")
    parser.add_argument("--network", type=Path, help="folder of u2netp (shopgen_model add)")
    parser.add_argument("--methods", nargs="+", choices=[*RIVALS, *OURS], default=[*RIVALS, *OURS])
    parser.add_argument("--side", type=int, default=256, help="longest side of the pictures given to the cut-outs")
    parser.add_argument("--keep", type=Path, help="JSON lines of every figure; what is there is not measured again")
    parser.add_argument("--sheet", type=Path, help="write photos and ours side by side, worst first")
    parser.add_argument("--sheet-count", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks/pictures.md")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = list(photos(options.photos, options.side))
    kinds = {"photo": "phone photos"}
    if options.objects and options.grounds:
        pictures += list(rivals.composites(options.objects, options.grounds, options.each))
        kinds |= {"studio": "objects before a wall", "ground": "objects on grounds"}
    rows: dict[str, list[Row]] = {}
    if options.keep and options.keep.exists():
        for line in options.keep.read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row["method"], []).append(row)
    for name in options.methods:
        _measure(name, pictures, rows, options)
    rows = {name: rows[name] for name in [*RIVALS, *OURS] if name in rows}
    texts = {"cut-outs": table(rows, kinds), "cut-out gains": gains(rows, kinds), "cut-out trust": trust(rows, kinds)}
    for title, text in texts.items():
        print(f"## {title}\n\n{text}\n")
        if options.write:
            page = PAGE.read_text()
            before, rest = page.split(f"<!-- {title} -->\n", 1)
            end = f"<!-- /{title} -->"
            PAGE.write_text(f"{before}<!-- {title} -->\n{text}\n{end}{rest.split(end, 1)[1]}")
    if options.sheet:
        sheet(options.sheet, options.methods, rows, options)


def _measure(
    name: str, pictures: list[tuple[str, Image.Image, Array]], rows: dict[str, list[Row]], options: argparse.Namespace
) -> None:
    done = {row["picture"] for row in rows.get(name, [])}
    left = [picture for picture in pictures if picture[0] not in done]
    method = method_of(name, options.network) if left else None
    if method is None:
        return
    method(left[0][1])  # what the first call compiles or loads is not counted
    for picture, image, truth in left:
        began = time.process_time()
        alpha, sure = method(image)
        spent = time.process_time() - began
        row = {"method": name, "picture": picture, "sure": sure, "seconds": spent, **scored(alpha, truth)}
        rows.setdefault(name, []).append(row)
        if options.keep:
            with options.keep.open("a") as handle:
                handle.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
