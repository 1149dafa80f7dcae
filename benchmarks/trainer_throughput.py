"""Training throughput against the machine's measured matrix product.

    OMP_NUM_THREADS=2 python -m benchmarks.trainer_throughput

Operations of a step are counted in closed form from the layers' shapes: convolutions and linear layers only, see
``AdversarialLearner.flops_per_image``. Time is that of whole steps with their batches. The reference is a
1024 x 1024 x 1024 single-precision product on the same threads, measured in turns with the steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import Pictures  # noqa: E402
from shopgen_django.ml.families import get_family  # noqa: E402
from shopgen_django.ml.families.base import DataFacts  # noqa: E402
from shopgen_django.ml.feed import Feed  # noqa: E402
from shopgen_django.ml.runtime import thread_count  # noqa: E402

PRODUCT = 1024


def measure(architecture: str, size: int, channels: int, seconds: float) -> dict[str, Any]:
    """Alternate short runs of steps and of products for ``seconds``; medians of each."""
    facts = DataFacts(count=240, size=size, channels=channels, categories=10)
    family = get_family(architecture)
    config = TrainConfig(source="-", output="-", architecture=architecture, precision="fp32", conditional=True)
    config = config.filled({**family.resolve(config, facts, torch.device("cpu")), "size": size, "channels": channels})
    config = config.filled({"loss": family.losses[0]})
    if config.warm_images:
        config = TrainConfig(**{**config.as_dict(), "category": (), "warm_images": 1})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (240, channels, size, size), dtype=np.uint8)
    pictures = Pictures(images=images, labels=np.arange(240) % 10, categories=(), manifest={})
    learner = family.create(config, facts, torch.device("cpu"), pictures)
    feed = Feed(pictures, config, facts, torch.device("cpu"))
    matrix = torch.randn(PRODUCT, PRODUCT)
    step, speeds, products = 0, [], []
    until = time.perf_counter() + seconds
    learner.step(feed.batch(10))
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in range(4):
            step += 1
            learner.step(feed.batch(step + 10))
        speeds.append(4 * (config.batch_size or 1) / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in range(6):
            matrix @ matrix
        products.append(6 * 2.0 * PRODUCT**3 / (time.perf_counter() - began))
    speed, product = statistics.median(speeds), statistics.median(products)
    flops = learner.flops_per_image()
    return {
        "architecture": architecture,
        "size": size,
        "channels": channels,
        "threads": torch.get_num_threads(),
        "pictures_per_second": round(speed, 1),
        "mflop_per_picture": round(flops / 1e6, 1),
        "gflops": round(speed * flops / 1e9, 1),
        "sgemm_gflops": round(product / 1e9, 1),
        "share": round(speed * flops / product, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="per line (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(thread_count(None))
    for architecture, size, channels in (("modern", 28, 1), ("modern", 64, 3), ("dcgan", 64, 3)):
        print(json.dumps(measure(architecture, size, channels, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
