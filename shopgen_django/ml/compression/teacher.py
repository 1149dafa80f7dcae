"""The model that is compressed: its network, what is drawn from it, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.families import get_family
from shopgen_django.ml.families.base import Family, Generator
from shopgen_django.ml.networks import layer_flops, to_device
from shopgen_django.ml.sample import LoadedGenerator, load_generator
from shopgen_django.ml.seeding import generator as seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A generator with its description."""

    network: Generator
    card: Mapping[str, Any]

    @property
    def family(self) -> Family:
        return get_family(str(self.card["architecture"]))

    @property
    def categories(self) -> int:
        return len(self.card["categories"])

    @property
    def plan(self) -> tuple[int, ...]:
        """Channels of each level that can be changed; empty when none can."""
        return tuple(self.card["network"].get("plan") or ()) if self.network.levels() else ()


def load_teacher(folder: Path) -> Model:
    """The model in ``folder``, in inference mode on the CPU.

    Raises:
        ModelFileError: it can't be loaded.
        ConfigError: it was exported to ONNX already.
    """
    loaded = load_generator(folder)
    if not isinstance(loaded, LoadedGenerator):
        raise ConfigError(
            f"{folder} is an ONNX export, whose weights can't be trained any further. Compress the model that it was "
            "made from, or its network/ folder."
        )
    return Model(network=loaded.network, card=loaded.card)


def draw_material(model: Model, *, seed: int, purpose: str, start: int, count: int) -> tuple[Tensor, Tensor]:
    """``(count, latent)`` random vectors as sampling draws them and ``(count,)`` categories, each in turn.

    A function of (seed, purpose, start, count) only.
    """
    labels = torch.arange(start, start + count) % max(1, model.categories)
    return model.network.draw(seeded(seed, "compress", purpose, start), labels), labels


@torch.no_grad()
def pictures_of(network: torch.nn.Module, latents: Tensor, labels: Tensor, chunk: int = 32) -> Tensor:
    """``(n, c, h, w)`` float pictures, made ``chunk`` at a time."""
    parts = [network(z, y) for z, y in zip(latents.split(chunk), labels.split(chunk), strict=True)]
    return torch.cat(parts).float()


def operations(network: Generator) -> float:
    """Floating-point operations for one picture: two for each multiply-add of convolutions and linear layers."""
    return sum(_by_layer(network).values())


def _by_layer(network: Generator) -> dict[str, float]:
    device = next(network.parameters()).device
    latent = torch.zeros(1, network.latent, device=device)
    training = network.training
    network.eval()
    found, _picture = layer_flops(network, latent, torch.zeros(1, dtype=torch.int64, device=device))
    network.train(training)
    return found


class Cost:
    """Operations of the model's network with other widths, in closed form: a layer's grow with each of its widths."""

    def __init__(self, model: Model) -> None:
        self._plan = model.plan
        by_layer = _by_layer(model.network)
        self.whole = sum(by_layer.values())
        levels_of: dict[str, list[int]] = {name: [] for name in by_layer}
        for number, level in enumerate(model.network.levels()):
            for part in level:
                layer, _dot, kind = part.tensor.rpartition(".")
                if kind == "weight" and layer in levels_of:
                    levels_of[layer].append(number)
        self._layers = [(by_layer[name], levels) for name, levels in levels_of.items()]

    def __call__(self, plan: Sequence[int]) -> float:
        return sum(
            amount * math.prod(plan[level] / self._plan[level] for level in levels) for amount, levels in self._layers
        )


def resized(model: Model, plan: tuple[int, ...]) -> Generator:
    """A network like the model's with the channels of ``plan``, freshly initialised."""
    network = model.family.build_generator({**model.card["network"], "plan": list(plan)})
    assert isinstance(network, Generator)  # the model's own network is one
    return network


def like(model: Model, network: Generator, plan: tuple[int, ...]) -> Model:
    """``network`` with the model's description and the widths of ``plan``; laid out for fast convolutions."""
    to_device(network, torch.device("cpu"))
    card = {**model.card, "network": {**model.card["network"], "plan": list(plan)}}
    return Model(network=network, card=card)
