"""How well does the VAE redraw photos that it has not seen? Held-out PSNR as training goes on.

    OMP_NUM_THREADS=1 python -m benchmarks.vae_redraw --seconds 60 180 360 --latent 32 64

Every ninth of the 900 Fashion-MNIST pictures that lie in ``tests/data`` is kept out. The mean of the posterior is
redrawn; PSNR in dB is of the mean squared error over all held-out pixels, in the range 0 to 1. ``active`` is the share
of latent numbers whose posterior mean varies over the held-out pictures by more than 0.01 (Burda et al. 2016).
Seconds are processor time of one thread.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import Pictures, load_pictures, open_source  # noqa: E402
from shopgen_django.ml.families.vae import VaeLearner  # noqa: E402
from shopgen_django.ml.feed import Feed  # noqa: E402
from shopgen_django.ml.recipe import make_recipe  # noqa: E402

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "data" / "fashion_mnist_900" / "fmnist900.npz"
EVERY = 9


def measure(learner: VaeLearner, real: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """PSNR in dB and the share of latent numbers in use."""
    with torch.no_grad():
        mean, _log_variance = learner.encoder(real, labels)
        redrawn = learner.generator.decoder(mean, labels).clamp(-1.0, 1.0)
    error = float((redrawn - real).square().mean())
    return 10.0 * math.log10(4.0 / error), float((mean.var(dim=0) > 0.01).float().mean())


def run(likelihood: str, latent: int | None, seconds: list[float], folder: Path) -> None:
    config = TrainConfig(
        source=str(SOURCE), output=str(folder), size=28, channels=1, architecture="vae", likelihood=likelihood,
        latent=latent, seed=0,
    )
    source = open_source(config)
    pictures = load_pictures(source, config, folder)
    held = np.arange(0, len(pictures.images), EVERY)
    shown = np.setdiff1d(np.arange(len(pictures.images)), held)
    mine = Pictures(
        images=pictures.images[shown], labels=pictures.labels[shown], categories=pictures.categories, manifest={}
    )
    recipe = make_recipe(config, source, len(shown))
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, mine)
    assert isinstance(learner, VaeLearner)
    feed = Feed(mine, recipe.config, recipe.facts, recipe.device)
    real = torch.from_numpy(np.ascontiguousarray(pictures.images[held])).float() / 127.5 - 1.0
    labels = torch.from_numpy(pictures.labels[held])
    began, step, left = time.process_time(), 0, sorted(seconds)
    while left:
        learner.step(feed.batch(step))
        step += 1
        if time.process_time() - began >= left[0]:
            psnr, active = measure(learner, real, labels)
            print(f"| {likelihood} | {latent or 'default'} | {left.pop(0):g} | {step} | {psnr:.2f} | {active:.0%} |",
                  flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 180.0, 360.0])
    parser.add_argument("--likelihoods", nargs="+", default=["gaussian"], choices=["gaussian", "laplace", "bernoulli"])
    parser.add_argument("--latent", type=int, nargs="+", help="numbers a picture; default: the family's own choice")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| likelihood | latent | seconds | steps | PSNR dB | active |\n|---|---|---|---|---|---|")
    for likelihood in options.likelihoods:
        for latent in options.latent or [None]:
            with tempfile.TemporaryDirectory() as name:
                run(likelihood, latent, options.seconds, Path(name))


if __name__ == "__main__":
    main()
