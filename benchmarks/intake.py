"""What taking uploads costs: time and memory of the worst files that are accepted, and of looking at a file.

    python benchmarks/intake.py [--mutations N]

Every case runs in a process of its own (Linux), because memory high-water marks never fall; ``bounded`` shows what its
caller pays, without the child. ``--mutations`` also mutates small
good files N times and counts the answers (expected: none but acceptance and refusal).
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shopgen_django.imaging.intake import IntakeError, IntakeLimits, inspect, normalise, normalise_bounded
from tests.imaging import hostile as make
from tests.imaging.test_intake_fuzz import GOOD, LIMITS, mutated, with_right_checksums


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A photo-like picture: coarse noise, enlarged, so that it packs about as photos do."""
    return Image.effect_noise((width // 8, height // 8), 80).convert(mode).resize((width, height))


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "JPEG 50 MP": lambda: make.encoded(noise(8660, 5770), "JPEG", quality=85),
    "JPEG 50 MP progressive": lambda: make.encoded(noise(8660, 5770), "JPEG", quality=80, progressive=True),
    "JPEG 12 MP": lambda: make.encoded(noise(4000, 3000), "JPEG", quality=90),
    "PNG 47 MP RGB": lambda: make.black_png(6900, 6900),
    "PNG 47 MP 16-bit grey": lambda: make.black_png(6900, 6900, bits=16, colour=0),
    "PNG 16 MP RGBA": lambda: make.encoded(_half_clear(4000, 4000), "PNG", compress_level=1),
    "WebP 16 MP": lambda: make.encoded(noise(4000, 4000), "WEBP", quality=80, method=0),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "PNG 144 MP": lambda: make.black_png(12000, 12000),
    "PNG 700 packed texts": lambda: make.with_png_chunks(
        *[make.chunk(b"zTXt", b"k\x00\x00" + make.zeros_packed(900_000))] * 700
    ),
    "PNG 300,000 chunks": lambda: make.many_png_chunks(300_000),
    "JPEG 400 more scans": lambda: make.scan_bomb(400),
    "JPEG cut at half": lambda: make.jpeg(4000, 3000)[:1_000_000],
    "20 MiB of zeros after a JPEG start": lambda: b"\xff\xd8\xff" + bytes(20 * 2**20 - 3),
}


def _half_clear(width: int, height: int) -> Image.Image:
    image = noise(width, height, "RGBA")
    image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image


def peak_mib() -> float:
    """This process's high-water mark of memory; getrusage would report the parent's where that was higher."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def one(kind: str) -> None:
    """Child: do one thing to the file on stdin, print seconds and the growth of the high-water mark."""
    data = sys.stdin.buffer.read()
    # Warm up all imports on a small file, so that only this file's own cost is counted.
    normalise(make.jpeg())
    before, start, answer = peak_mib(), time.perf_counter(), "taken"
    try:
        if kind == "verify":
            with Image.open(io.BytesIO(data)) as image:
                image.verify()
        else:
            {"inspect": inspect, "normalise": normalise, "bounded": normalise_bounded}[kind](data)
    except IntakeError as refusal:
        answer = refusal.code
    except Exception as error:
        answer = type(error).__name__
    seconds = time.perf_counter() - start
    print(json.dumps({"ms": 1e3 * seconds, "mib": peak_mib() - before, "answer": answer}))


def measured(kind: str, data: bytes) -> dict[str, float | str]:
    """Best of three."""
    command = [sys.executable, __file__, "--one", kind]
    runs = [json.loads(subprocess.run(command, input=data, capture_output=True, check=True).stdout) for _ in range(3)]
    return min(runs, key=lambda run: run["ms"])


def report(cases: dict[str, Callable[[], bytes]], kinds: list[str]) -> None:
    print(f"{'file':36} {'KiB':>7} " + "".join(f"{kind + ' ms':>13} {'MiB':>5}" for kind in kinds) + "  answer")
    for name, build in cases.items():
        data = build()
        found = [measured(kind, data) for kind in kinds]
        cells = "".join(f"{run['ms']:13.1f} {run['mib']:5.0f}" for run in found)
        print(f"{name:36} {len(data) / 1024:7.0f} {cells}  {found[-1]['answer']}", flush=True)


def mutate(count: int) -> None:
    answers: Counter[str] = Counter()
    slowest = 0.0
    source = random.Random(20)
    for number in range(count):
        data = GOOD[sorted(GOOD)[number % len(GOOD)]]
        steps = [
            (source.choice(["set", "insert", "cut", "double"]), source.random(), source.randbytes(3))
            for _ in range(source.randint(1, 4))
        ]
        changed = mutated(data, steps)
        start = time.perf_counter()
        try:
            normalise(with_right_checksums(changed) if number % 2 else changed, LIMITS)
            answers["taken"] += 1
        except IntakeError as refusal:
            answers[refusal.code] += 1
        slowest = max(slowest, time.perf_counter() - start)
    print(f"{count} mutated files: {dict(answers.most_common())}; slowest {1e3 * slowest:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    print(f"Pillow {Image.__version__}; limits {IntakeLimits()}\n")
    report(ACCEPTED, ["verify", "inspect", "normalise", "bounded"])
    print()
    report(REFUSED, ["verify", "inspect"])
    if options.mutations:
        print()
        mutate(options.mutations)


if __name__ == "__main__":
    main()
