"""What the engine adds to a text: the whole of it against the library's own call on the same model.

    python -m benchmarks.describe_overhead [--rounds 15] [--reloads 30]

Models are tiny and untrained, on one thread of the processor: the smaller the work, the more an overhead shows. The
library's call writes the same words (that is checked). Each round takes both in turn, and the middle of the rounds'
differences counts: other work on the machine then meets both. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reloads", type=int, default=30)
    options = parser.parse_args(argv)
    import django

    django.setup()
    from PIL import Image

    from shopgen_django.engines.texts import TextRequest
    from shopgen_django.engines.transformers import Transformers, ZeroShotTags
    from tests.texts import tiny

    picture = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 60).convert("RGB")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"BLIP": tiny.make_blip(Path(scratch) / "blip"), "CLIP": tiny.make_clip(Path(scratch) / "clip")}
        caption = TextRequest(images=(picture,), kinds=("alt_text",))
        writer = Transformers(MODEL=str(folders["BLIP"]))
        _told("BLIP, a caption", *_compare(writer, caption, _library_caption, options.rounds))
        tags = tuple(f"kind {number}" for number in range(40))
        chooser = ZeroShotTags(MODEL=str(folders["CLIP"]), MINIMUM=0.0)
        wish = TextRequest(images=(picture,), kinds=("tags",), tags=tags, max_tags=40)
        _told("CLIP, 40 tags, the words anew", *_compare(chooser, wish, _library_tags, options.rounds, forget=True))
        _told("CLIP, 40 tags, the words kept", *_compare(chooser, wish, _library_tags, options.rounds))
        if options.reloads:
            growth = _reload(folders["BLIP"], caption, options.reloads)
            print(f"{options.reloads} rounds of load, write, unload: {growth:+.1f} MB from the sixth to the last")
    return 0


def _told(name: str, ours: float, library: float) -> None:
    print(f"{name}: engine {1000 * ours:.1f} ms, library {1000 * library:.1f} ms: {100 * (ours / library - 1):+.1f} %")


def _compare(
    engine: Any, request: Any, library: Callable[[Any, Any], str], rounds: int, *, forget: bool = False
) -> tuple[float, float]:
    """Processor seconds (median) of the engine's and the library's way to the same text."""
    wanted = next(iter(engine.write(request).texts.values()))
    with engine.borrowed(request, lambda: None) as held:
        kept = held
    if sorted(library(kept, request).split("\n")) != sorted(wanted.split("\n")):
        raise SystemExit("The library's call writes something else, so the comparison would say nothing.")

    def ours() -> Any:
        if forget:
            kept.known = {}
        return engine.write(request)

    timings: dict[str, list[float]] = {"ours": [], "library": []}
    ways: dict[str, Callable[[], Any]] = {"ours": ours, "library": lambda: library(kept, request)}
    for number in range(rounds):
        for name in list(ways) if number % 2 else list(reversed(ways)):
            began = time.process_time()
            ways[name]()
            timings[name].append(time.process_time() - began)
    base = statistics.median(timings["library"])
    gap = statistics.median(ours - bare for ours, bare in zip(timings["ours"], timings["library"], strict=True))
    return base + gap, base


def _library_caption(held: Any, request: Any) -> str:
    """As the library's documentation captions a picture."""
    import torch

    from shopgen_django.engines.wording import TOKENS

    inputs = held.processor(images=request.images[0], return_tensors="pt")
    with torch.inference_mode():
        rows = held.network.generate(
            **inputs, max_new_tokens=2 * TOKENS["alt_text"], do_sample=False, no_repeat_ngram_size=5
        )
    return str(held.processor.batch_decode(rows, skip_special_tokens=True)[0]).strip()


def _library_tags(held: Any, request: Any) -> str:
    """As the library's documentation sorts a picture: all words and the picture in one call."""
    import torch

    words = [f"a photo of {tag}" for tag in request.tags]
    inputs = held.processor(text=words, images=request.images[0], return_tensors="pt", padding=True, truncation=True)
    with torch.inference_mode():
        scores = held.network(**inputs).logits_per_image[0]
    return "\n".join(request.tags[number] for number in scores.argsort(descending=True).tolist())


def _reload(folder: Path, request: Any, rounds: int) -> float:
    """Growth of the resident set in MB from the sixth round to the last."""
    import psutil

    from shopgen_django.engines.transformers import Transformers

    process = psutil.Process()
    sizes = []
    for _round in range(rounds):
        engine = Transformers(MODEL=str(folder))
        engine.write(request)
        engine.free()
        sizes.append(process.memory_info().rss / 1e6)
    return sizes[-1] - sizes[min(5, rounds - 1)]


if __name__ == "__main__":
    sys.exit(main())
