"""Repair, denoise, enlarge and correct next to what one would take instead, on studio photos; and what they cost.

    OMP_NUM_THREADS=1 python -m benchmarks.editing --photos DIR [--subjects repair denoise …] [--write]

DIR holds studio photos that nothing here was trained on (a demo shop's ``*_main*.jpg``, 512 px or more). Of the first
twelve, in the order of the SHA-1 of subject and name, the 256 px window with the most detail is taken: flat studio
ground flatters every method. All methods get the same pictures in the same run; gains are per picture, with a 95 %
bootstrap interval of their mean. ``--write`` puts the tables into docs/benchmarks/editing.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shopgen_django.engines.denoise import Denoise
from shopgen_django.engines.enlarge import Enlarge
from shopgen_django.imaging.colour import from_linear, to_linear
from shopgen_django.imaging.correcting import apply, find_light
from shopgen_django.imaging.plain_denoise import smooth
from shopgen_django.imaging.repair import fill, prepared_mask

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "editing.md"
SIDE, COUNT = 256, 12
NOISES = ("15", "25", "50", "camera")
Array = np.ndarray


def windows(folder: Path, subject: str) -> list[Array]:
    """``(256, 256, 3)`` uint8 of twelve photos."""
    def order(path: Path) -> str:
        return hashlib.sha1(f"{subject}{path.name}".encode()).hexdigest()

    paths = sorted((p for p in folder.rglob("*_main*.jpg")), key=order)[:COUNT]
    if len(paths) < COUNT:
        raise SystemExit(f"{folder} has {len(paths)} photos named *_main*.jpg; {COUNT} are needed.")
    return [_busiest(np.asarray(Image.open(path).convert("RGB"))) for path in paths]


def _busiest(array: Array) -> Array:
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(array, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    total = cv2.integral(edges)
    places = [(y, x) for y in range(0, array.shape[0] - SIDE + 1, 8) for x in range(0, array.shape[1] - SIDE + 1, 8)]
    y, x = max(places, key=lambda p: total[p[0] + SIDE, p[1] + SIDE] - total[p[0], p[1] + SIDE]
               - total[p[0] + SIDE, p[1]] + total[p[0], p[1]])  # fmt: skip
    return array[y : y + SIDE, x : x + SIDE]


def psnr(one: Array, other: Array, where: Array | None = None) -> float:
    error = np.square(one.astype(np.float64) - other)
    mean = float(error.mean() if where is None else error[where].mean())
    return 99.0 if mean < 1e-9 else 10.0 * float(np.log10(255.0**2 / mean))


def table(names: list[str], columns: list[str], scores: dict[tuple[str, str], list[float]], ours: str,
          seconds: dict[str, float]) -> str:  # fmt: skip
    """Means in dB; below, our gain over the best other of each column with its interval."""
    lines = ["| | " + " | ".join(columns) + " | s/MP |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        cells = [f"{np.mean(scores[name, column]):.2f}" for column in columns]
        cost = f"{seconds[name]:.2f}" if name in seconds else "–"
        lines.append(f"| {'**' if name == ours else ''}{name}{'**' if name == ours else ''} | "
                     f"{' | '.join(cells)} | {cost} |")  # fmt: skip
    gains = []
    for column in columns:
        others = [name for name in names if not name.startswith("ours")]
        best = max(others, key=lambda name, column=column: float(np.mean(scores[name, column])))
        gain = np.array(scores[ours, column]) - np.array(scores[best, column])
        drawn = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        gains.append(f"{gain.mean():+.2f} ({low:+.2f} to {high:+.2f}) over {best}")
    lines.append("")
    lines.append("Gain of " + ours + ": " + "; ".join(f"{c}: {g}" for c, g in zip(columns, gains, strict=True)) + ".")
    return "\n".join(lines)


def measure(
    pictures: list[tuple[str, Any, Array, Array | None]], methods: dict[str, Callable[[Any], Array]], ours: str
) -> str:
    """``pictures``: (column, what a method gets, truth, where it counts)."""
    scores: dict[tuple[str, str], list[float]] = {}
    seconds: dict[str, float] = {}
    columns = list(dict.fromkeys(column for column, *_rest in pictures))
    for name, method in methods.items():
        pixels = 0
        began = time.process_time()
        for column, given, truth, where in pictures:
            scores.setdefault((name, column), []).append(psnr(method(given), truth, where))
            pixels += truth.shape[0] * truth.shape[1]
        seconds[name] = (time.process_time() - began) / pixels * 1e6
    return table(list(methods), columns, scores, ours, seconds)


# -- subjects ----------------------------------------------------------------------------------


def _mask(kind: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    mask = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(mask)
    if kind == "scratches":
        for _line in range(12):
            (x, y), angle = rng.integers(0, SIDE, 2).astype(float), rng.uniform(0, 2 * np.pi)
            points = [(x, y)]
            for _step in range(6):
                angle += rng.normal(0, 0.3)
                x, y = x + 22 * np.cos(angle), y + 22 * np.sin(angle)
                points.append((x, y))
            draw.line(points, fill=255, width=int(rng.integers(1, 3)))
    elif kind == "blobs":
        for _blob in range(5):
            (x, y), (w, h) = rng.integers(30, SIDE - 30, 2), rng.integers(12, 22, 2)
            draw.ellipse((x - w, y - h, x + w, y + h), fill=255)
    else:
        for line in range(3):
            draw.text((10 + 8 * line, 20 + 75 * line), "SAMPLES", fill=255, font=ImageFont.load_default(38))
    return np.asarray(mask) > 127


def repair(folder: Path) -> str:
    pictures = []
    for kind in ("scratches", "blobs", "text"):
        for number, clean in enumerate(windows(folder, "repair")):
            hole = _mask(kind, number)
            damaged = clean.copy()
            damaged[hole] = 128
            pictures.append((kind, (damaged, hole), clean, hole))

    def classical(how: int) -> Callable[[Any], Array]:
        return lambda given: cv2.inpaint(given[0], given[1].astype(np.uint8), 3, how)

    methods: dict[str, Callable[[Any], Array]] = {
        "Telea (OpenCV)": classical(cv2.INPAINT_TELEA), "Navier-Stokes (OpenCV)": classical(cv2.INPAINT_NS),
        "ours": lambda given: np.asarray(fill(Image.fromarray(given[0]), given[1]).image),
    }
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError:
        pass
    else:
        methods = {"biharmonic (scikit-image)": lambda given: 255.0 * inpaint_biharmonic(
            given[0] / 255.0, given[1], channel_axis=-1), **methods}  # fmt: skip
    untouched = sum(int((methods["ours"](given) != given[0])[~where].sum()) for _c, given, _t, where in pictures)
    return measure(pictures, methods, "ours") + (
        f"\n\nPSNR inside the mask, in dB; the mask is given exactly. Bytes that differ outside of it: {untouched}."
    )


def _noisy(clean: Array, kind: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if kind != "camera":
        return np.clip(np.rint(clean + rng.normal(0, float(kind), clean.shape)), 0, 255).astype(np.uint8)
    light = to_linear(clean)
    made = from_linear(light + rng.normal(0, 1, light.shape) * np.sqrt(0.012 * light + 0.006**2)).astype(np.float32)
    grey = made.mean(axis=2, keepdims=True)
    made = grey + cv2.GaussianBlur(made - grey, (0, 0), 1.0)
    with io.BytesIO() as file:
        Image.fromarray(np.clip(np.rint(made), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        return np.asarray(Image.open(file).convert("RGB"))


def denoise(folder: Path, kinds: list[str] | None = None) -> str:
    engine = Denoise(MODEL="shipped")
    pictures = [
        (kind, (_noisy(clean, kind, number), kind), clean, None)
        for kind in kinds or NOISES for number, clean in enumerate(windows(folder, "denoise"))
    ]  # fmt: skip

    def level(given: Any) -> float:
        return 12.0 if given[1] == "camera" else float(given[1])

    def ours(given: Any, told: bool) -> Array:
        sigma = float(given[1]) if told and given[1] != "camera" else None
        return np.asarray(engine.denoise(Image.fromarray(given[0]), level=sigma, strength=1.0).image)

    def means(given: Any) -> Array:
        strength = 0.6 * level(given)
        return cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(given[0]), None, strength, level(given), 3, 21)

    methods: dict[str, Callable[[Any], Array]] = {
        "noisy": lambda given: given[0],
        "bilateral (OpenCV, told)": lambda given: np.asarray(smooth(Image.fromarray(given[0]), level(given))),
        "non-local means (OpenCV, told)": means,
        "ours, guessing": lambda given: ours(given, False), "ours": lambda given: ours(given, True),
    }
    try:
        import bm3d
    except ImportError:
        pass
    else:
        methods = {
            "BM3D (told)": lambda given: 255.0 * bm3d.bm3d_rgb(given[0] / 255.0, level(given) / 255.0), **methods
        }
    clean = [float(np.abs(np.asarray(engine.denoise(Image.fromarray(each), level=None, strength=1.0).image, dtype=float)
                          - each).mean()) for each in windows(folder, "denoise")]  # fmt: skip
    return measure(pictures, methods, "ours") + (
        "\n\nPSNR in dB. *ours* is told the level of white noise and guesses that of the camera. Clean photos left to "
        f"the guess change by {np.mean(clean):.2f} levels on average, {np.max(clean):.2f} at most."
    )


def enlarge(folder: Path) -> str:
    engine = Enlarge()
    pictures = []
    for how, word in ((cv2.INTER_AREA, "by area"), (cv2.INTER_CUBIC, "bicubic")):
        for clean in windows(folder, "enlarge"):
            if how == cv2.INTER_AREA:
                small = cv2.resize(clean, (SIDE // 2, SIDE // 2), interpolation=how)
            else:
                small = np.asarray(Image.fromarray(clean).resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC))
            pictures.append((word, small, clean, None))

    def pillow(how: Image.Resampling) -> Callable[[Any], Array]:
        return lambda small: np.asarray(Image.fromarray(small).resize((SIDE, SIDE), how))

    def ours(small: Array) -> Array:
        return np.asarray(engine.enlarge(Image.fromarray(small), factor=2))

    back = [psnr(np.asarray(Image.fromarray(ours(small)).reduce(2)), small) for _w, small, _c, _x in pictures]
    return measure(
        pictures,
        {"bicubic": pillow(Image.Resampling.BICUBIC), "Lanczos": pillow(Image.Resampling.LANCZOS),
         "ours, plain": lambda small: np.asarray(Enlarge(MODEL="plain").enlarge(Image.fromarray(small), factor=2)),
         "ours, not careful": lambda small: np.asarray(
             engine.enlarge(Image.fromarray(small), factor=2, careful=False)),
         "ours": ours}, "ours",
    ) + f"\n\nPSNR in dB, twice as large. Shrunk back it is its input to {np.min(back):.1f} dB or better."  # fmt: skip


def colour(folder: Path) -> str:
    paths = sorted(folder.rglob("*_main*.jpg"), key=lambda p: hashlib.sha1(f"cast{p.name}".encode()).hexdigest())[:80]
    errors: dict[str, list[float]] = {"nothing": [], "grey world": [], "white patch": [], "ours": []}
    untouched = 0
    for number, path in enumerate(paths):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((512, 512))
        untouched += not find_light(picture, balance=True, exposure=True).changes
        rng = np.random.default_rng(number)
        cast = np.array([rng.uniform(0.7, 1.35), 1.0, rng.uniform(0.7, 1.35)])
        light = to_linear(np.asarray(picture)) * (cast / cast.max()).astype(np.float32)
        dirty = Image.fromarray(np.rint(from_linear(light)).astype(np.uint8))
        estimates = {
            "nothing": np.ones(3), "grey world": light.reshape(-1, 3).mean(axis=0),
            "white patch": np.percentile(light.reshape(-1, 3), 99, axis=0),
            "ours": 1.0 / np.array(find_light(dirty, balance=True, exposure=False).gains),
        }
        for name, found in estimates.items():
            along = float(found @ cast / np.linalg.norm(found) / np.linalg.norm(cast))
            errors[name].append(float(np.degrees(np.arccos(np.clip(along, -1, 1)))))
    lines = ["| | median | 90 % |", "|---|---|---|"]
    lines += [f"| {n} | {np.median(e):.2f} | {np.percentile(e, 90):.2f} |" for n, e in errors.items()]
    return "\n".join(lines) + (
        f"\n\nAngle between the true and the estimated colour of the light, in degrees, {len(paths)} photos with gains "
        f"of 0.7 to 1.35 on red and blue. White studio grounds make this easy. Without a cast {untouched} of "
        f"{len(paths)} photos come through to the last bit; the others are brightened."
    )


_COST = """
import sys, time, resource
import numpy as np
from PIL import Image
from benchmarks.editing import job_of
side = int((float(sys.argv[2]) * 1e6) ** 0.5) // 4 * 4
rng = np.random.default_rng(0)
small = rng.integers(0, 255, (side // 16, side // 16, 3), dtype=np.uint8)
picture = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
job = job_of(sys.argv[1])
job(picture.crop((0, 0, 64, 64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
job(picture)
print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def job_of(name: str) -> Callable[[Image.Image], Any]:
    """One operation on a picture, for the measure of cost."""
    if name == "repair (1 % of the picture)":
        def mend(picture: Image.Image) -> Any:
            mask = Image.new("L", picture.size)
            wide = max(4, picture.width // 20)
            for x in range(2):
                for y in range(2):
                    left, top = (picture.width // 3) * (x + 1), (picture.height // 3) * (y + 1)
                    ImageDraw.Draw(mask).ellipse((left, top, left + wide, top + wide), fill=255)
            return fill(picture, prepared_mask(mask, picture.size, widen=3), feather=2)

        return mend
    if name == "denoise":
        return lambda picture: Denoise(MODEL="shipped").denoise(picture, level=10.0, strength=0.9)
    if name == "enlarge (to twice this)":
        return lambda picture: Enlarge().enlarge(picture, factor=2)
    return lambda picture: apply(picture, find_light(picture, balance=True, exposure=True, coloured=True))


def cost(folder: Path) -> str:
    lines = ["| | 1 megapixel | 12 | 48 |", "|---|---|---|---|"]
    for name in ("repair (1 % of the picture)", "denoise", "enlarge (to twice this)", "correct"):
        cells = []
        for size in (1, 12, 48):
            if name.startswith("enlarge") and size > 12:
                cells.append("–")
                continue
            command = [sys.executable, "-c", _COST, name, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, memory = (float(each) for each in done.stdout.split())
            cells.append(f"{seconds:.1f} s, {memory:.0f} MiB")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + (
        "\n\nProcessor time of one thread, and peak memory beyond the decoded picture, each in a process of its own."
    )


SUBJECTS: dict[str, Callable[[Path], str]] = {
    "repair": repair, "denoise": denoise, "enlarge": enlarge, "colour": colour, "cost": cost
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--sigmas", nargs="+", choices=NOISES, default=list(NOISES), help="of denoise")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks/editing.md")
    options = parser.parse_args()
    page = PAGE.read_text() if PAGE.exists() else ""
    for subject in options.subjects:
        text = denoise(options.photos, options.sigmas) if subject == "denoise" else SUBJECTS[subject](options.photos)
        print(f"## {subject}\n\n{text}\n", flush=True)
        start, end = f"<!-- {subject} -->\n", f"<!-- /{subject} -->"
        if options.write:
            if start not in page:
                raise SystemExit(f"{PAGE} has no place for {subject}: {start.strip()} … {end}")
            before, rest = page.split(start, 1)
            page = before + start + text + "\n" + end + rest.split(end, 1)[1]
            PAGE.write_text(page)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
