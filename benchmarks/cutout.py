"""How well the cut-out finds products in real photos.

    python benchmarks/cutout.py FOLDER [--network FOLDER] [--side 128] [--sheet FILE]

FOLDER holds ``images/NAME.jpg`` and ``masks/NAME.png`` (8-bit, product over 127). Prints mean IoU, the shares over .9
and .8, how well the confidence tells good cut-outs from bad ones, and the time per picture, each on pictures shrunk to
``--side``. Masks are compared at the reference's size.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from shopgen_django.imaging.background import Ground, on_ground
from shopgen_django.imaging.cutout import cut_out
from shopgen_django.imaging.cutout.network import OnnxFinder
from shopgen_django.imaging.sheet import contact_sheet


def auc(scores: np.ndarray, good: np.ndarray) -> float:
    """Chance that a good cut-out has the higher score of a good and a bad one (0.5 = useless)."""
    wins = [np.mean((score > scores[~good]) + 0.5 * (score == scores[~good])) for score in scores[good]]
    return float(np.mean(wins)) if wins and (~good).any() else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=Path, help="folder of a network (shopgen_model add); default: classical")
    parser.add_argument("--side", type=int, default=256, help="longest side of the pictures given to the cut-out")
    parser.add_argument("--sheet", type=Path, help="write photo and cut-out of every picture, worst first")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    finder = OnnxFinder(options.network) if options.network else None
    names = sorted(path.stem for path in (options.folder / "masks").glob("*.png"))
    if not names:
        parser.error(f"no masks/*.png in {options.folder}")
    ious, confidences, seconds, pairs = [], [], [], []
    for name in names:
        with Image.open(options.folder / "images" / f"{name}.jpg") as photo:
            image = photo.convert("RGB")
        with Image.open(options.folder / "masks" / f"{name}.png") as reference:
            truth = np.asarray(reference.convert("L")) > 127
        image.thumbnail((options.side, options.side), Image.Resampling.BOX)
        start = time.process_time()
        result = cut_out(image, finder=finder)
        picture = on_ground(result.picture(), Ground()) if result.alpha.any() else image
        seconds.append(time.process_time() - start)
        found = cv2.resize(result.alpha, (truth.shape[1], truth.shape[0])) > 127
        ious.append((found & truth).sum() / max(1, (found | truth).sum()))
        confidences.append(result.confidence)
        pairs.append((image, picture))
    iou, confidence = np.array(ious), np.array(confidences)
    over = {limit: iou > limit for limit in (0.8, 0.9, 0.95)}
    print(f"pictures {len(names)}  mean IoU {iou.mean():.3f}", *(f"over {k} {v.mean():.3f}" for k, v in over.items()))
    for limit in (0.3, 0.5, 0.7):
        taken = confidence >= limit
        failed = [f"IoU < {k}: {np.mean(~v[taken]) if taken.any() else 0:.3f}" for k, v in over.items()]
        print(f"confidence >= {limit}: accepted {taken.mean():.3f}, of these", ", ".join(failed))
    print("confidence AUC", {level: round(auc(confidence, good), 3) for level, good in over.items()})
    print(f"CPU ms per picture: median {1e3 * np.median(seconds):.0f}, 95 % {1e3 * np.percentile(seconds, 95):.0f}")
    if options.sheet:
        order = np.argsort(iou)
        cells = [side for index in order for side in pairs[index]]
        labels = [text for index in order for text in (f"IoU {iou[index]:.2f}", f"conf {confidence[index]:.2f}")]
        contact_sheet(cells, columns=16, cell=112, labels=labels).save(options.sheet)


if __name__ == "__main__":
    main()
