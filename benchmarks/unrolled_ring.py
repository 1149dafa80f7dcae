"""Does unrolling keep the modes? Eight points on a ring, a generator fifty times as fast as its discriminator.

    OMP_NUM_THREADS=1 python -m benchmarks.unrolled_ring --unroll 0 5 --seeds 0 1

With equal rates, and even with G twenty times as fast, the plain GAN covers this ring as well, so that "K = 5 covers
it" would say nothing. Here G learns with 1e-2 and D with 2e-4 (Adam 0.5, 0.999; two layers of 64 tanh, orthogonal with
gain 1.4, the last one 1; 16 random numbers; batches of 128; sigma 0.05, radius 2; the saturating minimax loss). Every
1,000 of 6,000 iterations 2,500 points are made. A mode counts as *near* when at least 20 of them lie within 0.5 of its
centre, as *hit* when one lies within 3 sigma. Each check is also told on standard error as it comes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from shopgen_django.ml.augment import Augment  # noqa: E402
from shopgen_django.ml.families.adversarial import GameSettings  # noqa: E402
from shopgen_django.ml.families.base import Batch, Generator  # noqa: E402
from shopgen_django.ml.families.unrolled import UnrolledLearner  # noqa: E402
from shopgen_django.ml.losses import LOSSES  # noqa: E402
from shopgen_django.ml.seeding import generator as seeded  # noqa: E402

MODES, RADIUS, SIGMA = 8, 2.0, 0.05
POINTS, NEAR, ENOUGH = 2_500, 0.5, 20
BATCH, LATENT, WIDE = 128, 16, 64
G_RATE, D_RATE = 1e-2, 2e-4


def centres() -> Tensor:
    angles = 2.0 * math.pi * torch.arange(MODES) / MODES
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def ring(rng: torch.Generator, count: int) -> Tensor:
    which = torch.randint(0, MODES, (count,), generator=rng)
    return centres()[which] + SIGMA * torch.randn(count, 2, generator=rng)


def _layers(inputs: int, outputs: int, rng: torch.Generator) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Linear(inputs, WIDE), nn.Tanh(), nn.Linear(WIDE, WIDE), nn.Tanh(), nn.Linear(WIDE, outputs)
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=1.0 if layer is layers[-1] else 1.4, generator=rng)
            nn.init.zeros_(layer.bias)
    return layers


class PointGenerator(Generator):
    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.latent = LATENT
        self.layers = _layers(LATENT, 2, rng)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.layers(latents)


class PointDiscriminator(nn.Module):
    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.layers = _layers(2, 1, rng)

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        return self.layers(points).flatten()


def make_learner(seed: int, unrolled: int) -> UnrolledLearner:
    settings = GameSettings(
        loss=LOSSES["minimax"], augment=Augment((), 0.0), gamma=0.0, lr=G_RATE, betas=(0.5, 0.999), bf16=False
    )
    learner = UnrolledLearner(
        PointGenerator(seeded(seed, "g")), PointDiscriminator(seeded(seed, "d")), settings, unrolled=unrolled
    )
    for group in learner.optimisers()["discriminator"].param_groups:
        group["lr"] = D_RATE
    return learner


def make_batch(seed: int, step: int) -> Batch:
    rng = seeded(seed, "step", step)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    return Batch(
        real=ring(rng, BATCH), labels=labels, real_again=ring(rng, BATCH), labels_again=labels, rng=rng,
        images_seen=step * BATCH,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Near modes, hit modes, and the share of points within 3 sigma of a centre."""

    near: int
    hit: int
    good: float


@torch.no_grad()
def count_modes(learner: UnrolledLearner, seed: int) -> Modes:
    labels = torch.zeros(POINTS, dtype=torch.int64)
    made = learner.generator(torch.randn(POINTS, LATENT, generator=seeded(seed, "count")), labels)
    distances = torch.cdist(made, centres())
    good = distances < 3.0 * SIGMA
    near = int(((distances < NEAR).sum(dim=0) >= ENOUGH).sum())
    return Modes(near=near, hit=int(good.any(dim=0).sum()), good=float(good.any(dim=1).float().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unroll", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--every", type=int, default=1_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| K | seed | near modes at each check | hit modes | points within 3 sigma | CPU seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for unrolled in options.unroll:
        for seed in options.seeds:
            learner, checks = make_learner(seed, unrolled), []
            began = time.process_time()
            for step in range(options.steps):
                learner.step(make_batch(seed, step))
                if (step + 1) % options.every == 0:
                    checks.append(count_modes(learner, seed))
                    sys.stderr.write(f"K={unrolled} seed {seed} step {step + 1}: {checks[-1]}\n")
            spent = time.process_time() - began
            near = " ".join(str(check.near) for check in checks)
            print(
                f"| {unrolled} | {seed} | {near} | {' '.join(str(c.hit) for c in checks)} | "
                f"{checks[-1].good:.2f} | {spent:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
