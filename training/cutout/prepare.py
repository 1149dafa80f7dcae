"""Photos, and what a larger network says of them, for the cut-out network that ships.

    python training/cutout/prepare.py --teacher DIR --photos DIR [DIR ...] --leave-out DIR --output answers.npz

``--teacher`` is the folder of a network that ``shopgen_model add u2netp`` has fetched. It is asked about every
photo, padded to a square; its answer is kept beside the photo, both stretched to squares of SIDE pixels. Photos
whose file name stands in ``--leave-out`` (those with reference masks, on which cut-outs are measured) are not read.
``--share`` takes only so many of them; ``--part 0/2`` and ``1/2`` divide the work between two processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from shopgen_django.imaging.cutout.network import OnnxFinder

SIDE = 176
SEED = 11


def square(picture: np.ndarray) -> tuple[np.ndarray, int, int]:
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padded = cv2.copyMakeBorder(picture, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE)
    return padded, top, left


def answer(finder: OnnxFinder, picture: np.ndarray) -> np.ndarray:
    """``(SIDE, SIDE)`` float32 in 0..1, stretched like the picture."""
    height, width = picture.shape[:2]
    padded, top, left = square(picture)
    side = padded.shape[0]
    belief = cv2.resize(finder(padded), (side, side), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(belief[top : top + height, left : left + width], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--leave-out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    left_out = {path.stem for path in options.leave_out.rglob("*") if path.is_file()}
    paths = sorted(
        path for folder in options.photos for path in folder.rglob("*")
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"} and path.stem not in left_out
    )  # fmt: skip
    drawn = np.random.default_rng(SEED).permutation(len(paths))[: round(options.share * len(paths))]
    mine = [paths[i] for i in sorted(drawn)][part::parts]
    finder = OnnxFinder(options.teacher, threads=1)
    images, beliefs, began = [], [], time.monotonic()
    for number, path in enumerate(mine, start=1):
        with Image.open(path) as opened:
            picture = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        images.append(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        beliefs.append(np.round(255 * answer(finder, picture)).astype(np.uint8))
        if number % 50 == 0:
            left = (time.monotonic() - began) / number * (len(mine) - number)
            sys.stderr.write(f"\r{number} of {len(mine)}, {left:.0f} s left ")
    np.savez(options.output, images=np.stack(images), beliefs=np.stack(beliefs), names=[path.stem for path in mine])


if __name__ == "__main__":
    main()
