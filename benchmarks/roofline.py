"""What a machine could do at best: operations and memory traffic of a training step against the machine's peaks.

A step can be no faster than its operations allow, nor than its memory traffic allows; the lower of the two is the roof.
Operations are the families' closed form. Traffic is counted from the networks themselves: every convolution and linear
layer reads its input and its weights and writes its output once a pass, with bias and activation fused; a step makes as
many passes over a network as its closed form says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.networks import forward_flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Peaks of a device from its data sheet: dense bf16 operations and bytes of memory in a second."""

    name: str
    flops: float
    bytes: float


PEAKS = (
    Peak(name="H200", flops=989e12, bytes=4.8e12),
    Peak(name="H100 PCIe", flops=756e12, bytes=2.0e12),
    Peak(name="H100", flops=989e12, bytes=3.35e12),
    Peak(name="A100", flops=312e12, bytes=2.0e12),
    Peak(name="L40", flops=181e12, bytes=0.864e12),
    Peak(name="L4", flops=121e12, bytes=0.3e12),
    Peak(name="T4", flops=65e12, bytes=0.32e12),
)


def peak_of(name: str) -> Peak | None:
    """The peaks of a device by the name that CUDA gives it; None for one that isn't listed."""
    return next((peak for peak in PEAKS if all(word in name for word in peak.name.split())), None)


def traffic(module: nn.Module, *inputs: Tensor, width: int) -> float:
    """Bytes that one forward pass moves per picture, with values of ``width`` bytes; weights are spread over none."""
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += given[0].numel() + output.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return width * total / inputs[0].shape[0]


def roof(learner: AdversarialLearner, peak: Peak, *, width: int) -> dict[str, float]:
    """Pictures a second that ``peak`` allows a learner: by operations, by memory, and the lower of both."""
    device = next(learner.generator.parameters()).device
    latent = torch.zeros(1, learner.generator.latent, device=device)
    label = torch.zeros(1, dtype=torch.int64, device=device)
    learner.generator.eval()
    with torch.no_grad():
        picture = learner.generator(latent, label)
    of_g = traffic(learner.generator, latent, label, width=width)
    of_d = traffic(learner.discriminator, picture, label, width=width)
    learner.generator.train()
    g, _ = forward_flops(learner.generator, latent, label)
    d, _ = forward_flops(learner.discriminator, picture, label)
    flops = learner.flops_per_image()
    # Passes: four of the generator, the rest of the closed form over the discriminator.
    passes_d = max(0.0, (flops - 4.0 * g) / d)
    moved = 4.0 * of_g + passes_d * of_d
    by_flops, by_bytes = peak.flops / flops, peak.bytes / moved
    return {
        "gflop_per_picture": flops / 1e9,
        "mbyte_per_picture": moved / 1e6,
        "roof_by_operations": by_flops,
        "roof_by_memory": by_bytes,
        "roof": min(by_flops, by_bytes),
    }
