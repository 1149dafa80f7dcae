"""Clean pieces for the denoiser that ships, from photos whose licences allow it.

    python training/denoiser/prepare.py --clothing DIR --groceries DIR --studio DIR --output pieces.npz

Photos from phones have noise and JPEG blocks of their own, and a network that is asked for them learns to keep
noise. So each is shrunk (by area) before a piece of 128 px is cut: phone photos to half, groceries to two thirds,
studio photos to half. Of each photo the square with the most detail is taken, and of every third one a random one as
well, so that plain grounds are known. Nothing of the sets that the network is measured on (Luma, Sylius) is read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

SIDE = 128
SEED = 5


def shrunk(path: Path, factor: float) -> np.ndarray | None:
    """``(h, w, 3)`` uint8, or None when it is too small for a piece."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    size = round(picture.width * factor), round(picture.height * factor)
    if min(size) < SIDE:
        scale = SIDE / min(picture.size)
        if scale > 0.75:  # hardly shrunk at all: its noise would stay
            return None
        size = max(SIDE, round(picture.width * scale)), max(SIDE, round(picture.height * scale))
    return cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_AREA)


def busiest(picture: np.ndarray) -> np.ndarray:
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    total = cv2.integral(edges)
    best, place = -1.0, (0, 0)
    for y in range(0, picture.shape[0] - SIDE + 1, 8):
        for x in range(0, picture.shape[1] - SIDE + 1, 8):
            found = total[y + SIDE, x + SIDE] - total[y, x + SIDE] - total[y + SIDE, x] + total[y, x]
            if found > best:
                best, place = float(found), (y, x)
    return picture[place[0] : place[0] + SIDE, place[1] : place[1] + SIDE]


def anywhere(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y = int(rng.integers(0, picture.shape[0] - SIDE + 1))
    x = int(rng.integers(0, picture.shape[1] - SIDE + 1))
    return picture[y : y + SIDE, x : x + SIDE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clothing", type=Path, required=True, help="CC0 phone photos, long side 256")
    parser.add_argument("--groceries", type=Path, required=True, help="MIT phone photos, 192 px")
    parser.add_argument("--studio", type=Path, nargs="+", required=True, help="MIT studio photos, 512 px and more")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=1500, help="photos of each phone set at most")
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    pieces: list[np.ndarray] = []
    for folder, factor, most, copies in (
        (options.clothing, 0.5, options.each, 1), (options.groceries, 0.67, options.each, 1),
        *((studio, 0.5, 500, 6) for studio in options.studio),
    ):
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        chosen = [paths[i] for i in rng.permutation(len(paths))[:most]]
        before = len(pieces)
        for number, path in enumerate(chosen):
            picture = shrunk(path, factor)
            if picture is None or min(picture.shape[:2]) < SIDE:
                continue
            pieces.append(busiest(picture))
            if copies > 1 or number % 3 == 0:
                pieces += [anywhere(picture, rng) for _ in range(max(1, copies - 1))]
        print(f"{folder.name}: {len(pieces) - before} pieces")
    np.savez(options.output, images=np.stack(pieces))
    print(f"{len(pieces)} pieces in {options.output}")


if __name__ == "__main__":
    main()
