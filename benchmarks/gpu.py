"""Pictures a second, utilisation and memory of training steps at 64, 128 and 256 px, against the roofline.

    python -m benchmarks.gpu                      # on a CUDA GPU
    python -m benchmarks.gpu --device cpu --quick # anywhere: shows that it runs, measures nothing of interest

For every size: the step on a batch that lies on the device already (20 steps to warm up, 100 timed, with the device's
own clock), with and without torch.compile, in bf16 and fp32; then the whole feed. The figures that count are the shares
of the roof (see benchmarks/roofline.py), not the pictures alone. Without a GPU it says so and ends with status 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.roofline import Peak, peak_of, roof  # noqa: E402
from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import Pictures  # noqa: E402
from shopgen_django.ml.families import get_family  # noqa: E402
from shopgen_django.ml.families.adversarial import AdversarialLearner  # noqa: E402
from shopgen_django.ml.families.base import DataFacts  # noqa: E402
from shopgen_django.ml.feed import Feed  # noqa: E402
from shopgen_django.ml.runtime import peak_memory, prepare_device  # noqa: E402

SIZES = (64, 128, 256)
BATCHES = {64: 256, 128: 128, 256: 64}
PHOTOS = 512


def settle(size: int, device: torch.device, *, precision: str, quick: bool) -> tuple[TrainConfig, DataFacts, Pictures]:
    """The default family's own choices for this device, on random pictures."""
    facts = DataFacts(count=PHOTOS, size=size, channels=3, categories=10)
    config = TrainConfig(
        source="-",
        output="-",
        size=size,
        channels=3,
        precision=precision,
        conditional=True,
        warm_images=0,
        augment="fixed",
        init="scratch",
        batch_size=4 if quick else BATCHES[size],
        width=8 if quick else None,
    )
    family = get_family(config.architecture)
    config = config.filled({"loss": family.losses[0]})
    config = config.filled(family.resolve(config, facts, device))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (PHOTOS, 3, size, size), dtype=np.uint8)
    return config, facts, Pictures(images=images, labels=np.arange(PHOTOS) % 10, categories=(), manifest={})


def measure(size: int, device: torch.device, *, precision: str, compiled: bool, quick: bool) -> dict[str, Any]:
    """Figures of one setting."""
    config, facts, pictures = settle(size, device, precision=precision, quick=quick)
    learner = get_family(config.architecture).create(config, facts, device, pictures)
    assert isinstance(learner, AdversarialLearner)
    if compiled:
        learner.compile_networks("inductor")
    feed = Feed(pictures, config, facts, device)
    warm, timed = (1, 2) if quick else (20, 100)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batch = feed.batch(0)
    for _ in range(warm):
        learner.step(batch)
    seconds = _timed(device, lambda step: learner.step(batch), timed)
    with_feed = _timed(device, lambda step: learner.step(feed.batch(step)), timed)
    count = config.batch_size or 1
    speed = timed * count / seconds
    found: dict[str, Any] = {
        "size": size,
        "batch": count,
        "precision": precision,
        "compiled": compiled,
        "pictures_per_second": round(speed, 1),
        "with_feed": round(timed * count / with_feed, 1),
        "tflops": round(speed * learner.flops_per_image() / 1e12, 3),
        "memory_mib": round(peak_memory(device) / 2**20),
    }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak: Peak | None = peak_of(name)
    if peak is not None:
        limit = roof(learner, peak, width=2 if precision == "bf16" else 4)
        found |= {
            "roof": round(limit["roof"], 1),
            "share_of_roof": round(speed / limit["roof"], 3),
            "share_of_peak_operations": round(speed * learner.flops_per_image() / peak.flops, 3),
            "bound_by": "memory" if limit["roof_by_memory"] < limit["roof_by_operations"] else "operations",
        }
    return found


def _timed(device: torch.device, step: Any, count: int) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        for number in range(count):
            step(number)
        return time.perf_counter() - began
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for number in range(count):
        step(number)
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks, two steps: does it run at all?")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stdout.write(
            "PyTorch sees no CUDA GPU here, so nothing was measured. On a machine with one: python -m benchmarks.gpu. "
            "To see the script run without: python -m benchmarks.gpu --device cpu --quick\n"
        )
        return 0
    device = torch.device(options.device)
    prepare_device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(json.dumps({"device": name, "torch": str(torch.__version__)}))
    for size in SIZES:
        for precision in ("bf16", "fp32"):
            for compiled in (False,) if options.quick else (False, True):
                line = measure(size, device, precision=precision, compiled=compiled, quick=options.quick)
                print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
