"""What a shop's developer would train instead: two networks that tutorials print, with their own recipes.

- ``dense``: the fully connected GAN of the widespread Keras tutorials (generator 256-512-1024 with batch normalisation,
  discriminator 512-256, Adam 2e-4 / 0.5, cross-entropy, batch 64), rebuilt in PyTorch.
- ``dcgan``: the network and recipe of PyTorch's DCGAN example (widths 64, N(0, 0.02) initialisation, batch 64,
  Adam 2e-4 / 0.5, cross-entropy), with the depth that the picture size asks for.

Neither has conditioning, averaging of weights or augmentation, as printed.

    python benchmarks/baselines.py dcgan --images pictures.npy --minutes 3 --seed 0 --count 1000 --output samples.npy
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LATENT = 100


def dense(size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """The Keras tutorials' fully connected pair."""
    pixels = size * size * channels
    layers: list[nn.Module] = []
    before = LATENT
    for width in (256, 512, 1024):
        layers += [nn.Linear(before, width), nn.LeakyReLU(0.2), nn.BatchNorm1d(width, momentum=0.2)]
        before = width
    generator = nn.Sequential(
        nn.Flatten(), *layers, nn.Linear(before, pixels), nn.Tanh(), nn.Unflatten(1, (channels, size, size))
    )
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )
    return generator, discriminator


def dcgan(size: int, channels: int, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """PyTorch's DCGAN example; 64 px as printed, 28 px with 7-14-28 stages, 32 px with one stage fewer."""
    start = 7 if size == 28 else 4
    stages = {7: 2, 4: int(np.log2(size // 4))}[start]
    widths = [width * 2**i for i in range(stages)]
    top = widths[-1]
    up: list[nn.Module] = [
        nn.ConvTranspose2d(LATENT, top, start, 1, 0, bias=False), nn.BatchNorm2d(top), nn.ReLU(True)
    ]
    down: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for narrow, wide in zip(widths[-2::-1], widths[:0:-1], strict=True):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(True)]
    for narrow, wide in itertools.pairwise(widths):
        down += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, True)]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(widths[0], channels, 4, 2, 1, bias=False), nn.Tanh())
    discriminator = nn.Sequential(*down, nn.Conv2d(top, 1, start, 1, 0, bias=False), nn.Flatten())
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)
    return generator, discriminator


def train(
    name: str, images: np.ndarray, seconds: float, seed: int, batch: int = 64,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[nn.Module, int]:
    """Train for ``seconds`` on ``clock``; returns the generator and how many real pictures it saw."""
    torch.manual_seed(seed)
    data = torch.from_numpy(images).float().div_(127.5).sub_(1.0)
    generator, discriminator = {"dense": dense, "dcgan": dcgan}[name](data.shape[2], data.shape[1])
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)
    ]
    seen, end = 0, clock() + seconds
    while clock() < end:
        for picked in torch.randperm(len(data)).split(batch):
            if len(picked) < 2 or clock() >= end:
                continue
            real = data[picked]
            fake = generator(torch.randn(len(real), LATENT, 1, 1))
            loss_d = functional.softplus(-discriminator(real)).mean()
            loss_d = loss_d + functional.softplus(discriminator(fake.detach())).mean()
            _step(optimisers[1], loss_d)
            _step(optimisers[0], functional.softplus(-discriminator(fake)).mean())
            seen += len(real)
    return generator, seen


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def sample(generator: nn.Module, count: int, seed: int) -> np.ndarray:
    """``(count, channels, size, size)`` uint8, batch normalisation with its running figures."""
    generator.eval()
    torch.manual_seed(seed + 1)
    with torch.no_grad():
        parts = [generator(torch.randn(n, LATENT, 1, 1)) for n in [100] * (count // 100)]
    return torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("dense", "dcgan"))
    parser.add_argument("--images", type=Path, required=True, help="(n, channels, size, size) uint8 .npy")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.monotonic
    generator, seen = train(options.network, np.load(options.images), options.minutes * 60, options.seed, clock=clock)
    np.save(options.output, sample(generator, options.count, options.seed))
    print(f"{options.network}: {seen} pictures seen in {options.minutes:g} min")


if __name__ == "__main__":
    main()
