"""How much more two workers do than one: real cut-outs of one-megapixel photos through the whole engine.

    python -m benchmarks.worker_throughput [--photos 24] [--workers 1 2] [--rounds 2] [--operation cut_out]

A shop of its own in a temporary folder (SQLite), the photos of ``example_project/data/clothing_cc0`` enlarged to about
a megapixel, one job each, one thread a worker. Time runs from the first job's start to the last one's end, so start-up
does not count, and the first job of each worker, which loads the network, does. Rounds take turns. On a machine that
does other work as well the figure says little: two workers then share what one had for itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.shop import Shop

QUEUE = """
import io, json, sys
from pathlib import Path
from PIL import Image
from shopgen_django.services.submit import submit_job
from tests.factories import make_image
wanted = json.loads(sys.argv[1])
photos = sorted(Path(wanted["source"]).rglob("*.jpg"))[: wanted["photos"]]
for number, path in enumerate(photos):
    image = Image.open(path).convert("RGB")
    scale = (1_000_000 / (image.width * image.height)) ** 0.5
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    source = make_image(content=buffer.getvalue(), kind="source", format="JPEG", width=image.width, height=image.height)
    submit_job(operation=wanted["operation"], params={}, inputs=[source])
"""
SOURCE = Path(__file__).resolve().parents[1] / "example_project" / "data" / "clothing_cc0" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--operation", default="cut_out")
    options = parser.parse_args()
    seconds: dict[int, list[float]] = {count: [] for count in options.workers}
    for number in range(options.rounds):
        for count in options.workers if number % 2 == 0 else reversed(options.workers):
            seconds[count].append(_measured(count, options))
            print(f"{count} workers, round {number + 1}: {seconds[count][-1]:.1f} s", flush=True)
    first = statistics.median(seconds[options.workers[0]])
    for count, times in seconds.items():
        middle = statistics.median(times)
        print(f"{count} workers: {60 * options.photos / middle:.1f} photos a minute, {first / middle:.2f} times")


def _measured(workers: int, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        shop = Shop(
            Path(scratch), SHOPGEN_TEST_WORKERS=str(workers), SHOPGEN_TEST_LEASE="60", SHOPGEN_TEST_HEARTBEAT="10"
        )
        try:
            shop.migrate()
            wanted = json.dumps({"source": str(SOURCE), "photos": options.photos, "operation": options.operation})
            subprocess.run(
                [sys.executable, "-c", f"import django; django.setup()\n{QUEUE}", wanted], env=shop.env,
                cwd=shop.folder, check=True,
            )  # fmt: skip
            worker = shop.start_worker("--until-idle")
            if worker.wait(1800) or shop.states() != {"succeeded": options.photos}:
                raise SystemExit(f"Not all jobs succeeded: {shop.states()}\n{shop.log()[-2000:]}")
            [(spent,)] = shop.sql(
                "SELECT 86400.0 * (MAX(julianday(finished_at)) - MIN(julianday(started_at))) FROM shopgen_job"
            )
            return float(spent)
        finally:
            shop.close()


if __name__ == "__main__":
    main()
