"""What the engine adds to a picture: the whole of it against a bare loop over the same networks, and its memory.

    python -m benchmarks.diffusers_overhead [--steps 4 20 50] [--rounds 15] [--reloads 30]

Networks are tiny and untrained, on one thread of the processor: the smaller the work, the more an overhead shows. The
bare loop makes the same bits (that is checked), so both do the same sums. Each round takes all in turn, and the middle
of the rounds' differences counts: other work on the machine then meets all. Seconds are those of the processor.
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

ALLOWED = 0.05
GROWTH_MB = 20.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 20, 50])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reloads", type=int, default=30)
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    options = parser.parse_args(argv)
    import django

    django.setup()
    from shopgen_django.engines.diffusers import Diffusers
    from tests.diffusion.tiny import make_sd

    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_sd(Path(scratch) / "tiny")
        engine = Diffusers(MODEL=str(folder))
        for steps in options.steps:
            whole, pipeline, bare = _compare(engine, steps, options.size, options.rounds)
            share = whole / bare - 1.0
            failed |= steps >= 20 and share > ALLOWED
            print(
                f"{steps:3d} steps: engine {1000 * whole:7.1f} ms, pipeline {1000 * pipeline:7.1f} ms, bare loop "
                f"{1000 * bare:7.1f} ms: {100 * share:+.1f} % over the loop, "
                f"{100 * (whole / pipeline - 1):+.1f} % over the pipeline"
            )
        engine.free()
        if options.reloads:
            growth = _reload(folder, options.reloads)
            failed |= growth > GROWTH_MB
            print(f"{options.reloads} rounds of load, run, unload: {growth:+.1f} MB from the sixth to the last")
    return int(failed)


def _compare(engine: Any, steps: int, size: int, rounds: int) -> tuple[float, float, float]:
    """Processor seconds (median) of the engine, the library's pipeline and the bare loop for one picture."""
    import numpy as np

    from shopgen_django.engines.diffusers.shelf import SHELF
    from shopgen_django.engines.pictures import PictureRequest, seed_of

    request = PictureRequest(
        task="text", prompt="a red shirt", width=size, height=size, steps=steps, seed=1, scheduler="ddim"
    )
    list(engine.run(request))
    (entry,) = SHELF._entries.values()
    pipeline = entry.pipelines["text"]
    seed = seed_of(1, 0)

    def whole() -> Any:
        return np.asarray(next(engine.run(request)).image)

    def library() -> Any:
        import torch
        from diffusers import DDIMScheduler

        pipeline.scheduler = DDIMScheduler.from_config(entry.parts["scheduler"].config)
        return _bytes(
            pipeline(
                "a red shirt", num_inference_steps=steps, guidance_scale=7.0, height=size, width=size, output_type="np",
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]
        )

    def bare() -> Any:
        return _bare_loop(pipeline, entry.parts["scheduler"], seed, steps, size)

    wanted = whole()
    if (bare() != wanted).any() or (library() != wanted).any():
        raise SystemExit("The bare loop makes another picture, so the comparison would say nothing.")
    timings: dict[str, list[float]] = {"whole": [], "library": [], "bare": []}
    ways: dict[str, Callable[[], Any]] = {"whole": whole, "library": library, "bare": bare}
    for number in range(rounds):
        order = list(ways) if number % 2 else list(reversed(ways))
        for name in order:
            began = time.process_time()
            ways[name]()
            timings[name].append(time.process_time() - began)
    middle = {
        name: statistics.median(value - reference for value, reference in zip(values, timings["bare"], strict=True))
        for name, values in timings.items()
    }
    base = statistics.median(timings["bare"])
    return base + middle["whole"], base + middle["library"], base


def _bare_loop(pipeline: Any, base: Any, seed: int, steps: int, size: int) -> Any:
    """Text encoder, UNet and scheduler in a loop, autoencoder: nothing else."""
    import torch
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(base.config)
    with torch.no_grad():
        words = [
            pipeline.text_encoder(
                pipeline.tokenizer(
                    text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
                ).input_ids
            )[0]
            for text in ("", "a red shirt")
        ]
        condition = torch.cat(words)
        scheduler.set_timesteps(steps)
        latents = torch.randn((1, 4, size // 8, size // 8), generator=torch.Generator("cpu").manual_seed(seed))
        latents = latents * scheduler.init_noise_sigma
        for moment in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([latents] * 2), moment)
            free, led = pipeline.unet(both, moment, encoder_hidden_states=condition, return_dict=False)[0].chunk(2)
            latents = scheduler.step(free + 7.0 * (led - free), moment, latents, return_dict=False)[0]
        picture = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    return _bytes((picture / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().numpy()[0])


def _bytes(values: Any) -> Any:
    import numpy as np

    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def _reload(folder: Path, rounds: int) -> float:
    """Growth of the resident set in MB from the sixth round to the last."""
    import psutil

    from shopgen_django.engines.diffusers import Diffusers
    from shopgen_django.engines.pictures import PictureRequest

    process = psutil.Process()
    sizes = []
    for _round in range(rounds):
        engine = Diffusers(MODEL=str(folder))
        list(engine.run(PictureRequest(task="text", prompt="a shirt", width=64, height=64, steps=2)))
        engine.free()
        sizes.append(process.memory_info().rss / 1e6)
    return sizes[-1] - sizes[min(5, rounds - 1)]


if __name__ == "__main__":
    sys.exit(main())
