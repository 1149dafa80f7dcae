"""What cutting out and laying on white cost: processor time and peak memory of a process of its own for each size.

    python benchmarks/cutout_cost.py [--network FOLDER] [--megapixels 1 12 48]

One core. Memory is the process's peak over what it held with the libraries, the network's file and the decoded picture.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path


def measure(megapixels: float, network: Path | None) -> str:
    """One row of the table, measured in this process."""
    import cv2
    from PIL import Image, ImageDraw

    from shopgen_django.imaging.background import Ground, on_ground
    from shopgen_django.imaging.cutout import cut_out
    from shopgen_django.imaging.cutout.network import OnnxFinder

    cv2.setNumThreads(1)
    high = int((megapixels * 1e6 / 1.333) ** 0.5)
    wide = int(high * 1.333)
    image = Image.effect_noise((wide, high), 30).convert("RGB")
    ImageDraw.Draw(image).ellipse((wide * 0.25, high * 0.2, wide * 0.75, high * 0.85), fill=(190, 40, 50))
    finder = OnnxFinder(network) if network else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = cut_out(image, finder=finder)
    cut = time.process_time()
    on_ground(found.picture(), Ground())
    done = time.process_time()
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"| {megapixels:g} | {cut - began:.2f} | {done - cut:.2f} | {more:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 48])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(measure(options.megapixels[0], options.network))
        return
    print("| megapixels | cut out, s | on white, s | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for megapixels in options.megapixels:
        command = [sys.executable, __file__, "--here", "--megapixels", str(megapixels)]
        subprocess.run([*command, *(["--network", str(options.network)] if options.network else [])], check=True)


if __name__ == "__main__":
    main()
