"""What cutting out and laying on white cost: processor time and peak memory of a process of its own for each size.

    python -m benchmarks.cutout_cost [--finder shipped|classical|FOLDER|rembg] [--megapixels 1 12 48]

One core; FOLDER is a network of ``shopgen_model add``; rembg is that package with its u2netp, which lays nothing on
white. Memory is the process's peak over what it held with the libraries, the network's file and the decoded picture.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def measure(megapixels: float, finder: str) -> str:
    """One row of the table, measured in this process."""
    import cv2
    from PIL import Image, ImageDraw

    from shopgen_django.imaging.background import Ground, on_ground

    cv2.setNumThreads(1)
    high = int((megapixels * 1e6 / 1.333) ** 0.5)
    wide = int(high * 1.333)
    image = Image.effect_noise((wide, high), 30).convert("RGB")
    ImageDraw.Draw(image).ellipse((wide * 0.25, high * 0.2, wide * 0.75, high * 0.85), fill=(190, 40, 50))
    method = method_of(finder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = method(image)
    cut = time.process_time()
    on_ground(found, Ground())
    done = time.process_time()
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"| {megapixels:g} | {cut - began:.2f} | {done - cut:.2f} | {more:.0f} |"


def method_of(finder: str) -> Callable[[Image.Image], Image.Image]:
    """What gives the RGBA picture; libraries and weights are loaded."""
    if finder == "rembg":
        from benchmarks.cutout_rivals import rembg_picture

        return rembg_picture()
    from shopgen_django.engines.cutout import Cutout
    from shopgen_django.imaging.cutout import cut_out
    from shopgen_django.imaging.cutout.network import OnnxFinder

    chosen = Cutout(MODEL=finder).finder() if finder in ("shipped", "classical") else OnnxFinder(finder)
    return lambda image: cut_out(image, finder=chosen).picture()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finder", default="shipped")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 48])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(measure(options.megapixels[0], options.finder))
        return
    print("| megapixels | cut out, s | on white, s | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for megapixels in options.megapixels:
        command = [sys.executable, "-m", "benchmarks.cutout_cost", "--here", "--finder", options.finder]
        subprocess.run([*command, "--megapixels", str(megapixels)], check=True)


if __name__ == "__main__":
    main()
