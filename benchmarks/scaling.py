"""How training speeds up with processes on this host, and where the time of a step goes.

    python -m benchmarks.scaling --source example_project/data/clothing_cc0 --processes 1 2 --cores 2

Every number of processes trains the same run for ``--seconds``; the share of ``--cores`` is dealt out among them (one
process has all of them). Rounds are interleaved, since what else the machine does changes from minute to minute; the
medians are printed, with the time that adding up gradients takes and the size of the message.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import torch  # noqa: E402

from shopgen_django.ml import together  # noqa: E402
from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.loop import Tick, train  # noqa: E402


class Watch:
    """Counts the time that process 0 spends in sums and agreements (waiting for slower ones included)."""

    def __init__(self) -> None:
        self.summing = self.agreeing = 0.0
        self.values = self.sums = 0
        watch = self

        class Watched(together.Together):
            def sum_(self, tensors: Any) -> None:
                began = time.perf_counter()
                super().sum_(tensors)
                watch.summing += time.perf_counter() - began
                watch.sums += 1
                watch.values += sum(tensor.numel() for tensor in tensors)

            def largest(self, values: Any) -> list[float]:
                began = time.perf_counter()
                found = super().largest(values)
                watch.agreeing += time.perf_counter() - began
                return found

        together.Together = Watched  # type: ignore[misc]


def once(options: argparse.Namespace, processes: int, watch: Watch) -> dict[str, float]:
    """One run of ``processes``; figures of its game without the first tick."""
    ticks: list[Tick] = []
    watch.summing = watch.agreeing = 0.0
    watch.values = watch.sums = 0
    with tempfile.TemporaryDirectory() as folder:
        began: list[float] = []

        def stop() -> bool:
            began.append(time.perf_counter())
            return began[-1] - began[0] > options.seconds

        config = TrainConfig(
            source=options.source,
            output=str(Path(folder) / "run"),
            size=options.size,
            batch_size=options.batch_size,
            width=options.width,
            warm_images=0,
            augment="fixed",
            init="scratch",
            device="cpu",
            threads=options.cores,
            processes=processes,
            images_seen=10**9,
            tick_seconds=options.seconds / 6,
            snapshot_seconds=10**6,
        )
        result = train(config, on_tick=ticks.append, should_stop=stop)
    speeds = [tick.values["images_per_second"] for tick in ticks[1:]]
    steps = max(1, result.images_seen // (options.batch_size or 1))
    return {
        "pictures_per_second": statistics.median(speeds),
        "ms_per_step_summing": 1000.0 * watch.summing / steps,
        "ms_per_step_agreeing": 1000.0 * watch.agreeing / steps,
        "values_per_sum": watch.values / max(1, watch.sums),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="example_project/data/clothing_cc0")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    watch = Watch()
    found: dict[int, list[dict[str, float]]] = {count: [] for count in options.processes}
    for _ in range(options.rounds):
        for count in options.processes:
            found[count].append(once(options, count, watch))
    first = statistics.median(one["pictures_per_second"] for one in found[options.processes[0]])
    for count, lines in found.items():
        medians = {name: round(statistics.median(line[name] for line in lines), 2) for name in lines[0]}
        speed = medians["pictures_per_second"]
        print(json.dumps({"processes": count, "torch": str(torch.__version__), **medians, "times": speed / first}))


if __name__ == "__main__":
    main()
