"""The default family: networks without normalisation, relativistic pairing loss with R1 and R2 (after R3GAN, 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, leaky_relu

from shopgen_django.ml.augment import choose
from shopgen_django.ml.config import TrainConfig, base_side
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.losses import LOSSES
from shopgen_django.ml.networks import SLOPE, forward_flops, scaled_normal, to_device
from shopgen_django.ml.seeding import Rng, normal, uniform
from shopgen_django.ml.seeding import generator as seeded
from shopgen_django.ml.warm import MAX_PICTURES, Describer

from .adversarial import AdversarialLearner, GameSettings
from .base import Batch, ChannelSlice, DataFacts, Family, Figures, Generator

COMPONENTS = 48
"""Numbers that describe a photo in the warm start."""
REDRAW_WEIGHT = 20.0
"""Weight of redrawing in the generator's loss once both play; chosen by looking (1 lets outlines dissolve)."""
MAX_CODES = 2_000
"""Photos whose codes are kept for blending."""
SPREAD = 0.1
"""Standard deviation of the noise on a blended code."""
REACH = 0.4
"""How far a blend goes from the first photo's code to the second's, at most."""
NEIGHBOURS, LOOKS = 5, 12
"""A photo is blended with one of its nearest, as told by the strongest components."""
WARM_IMAGES = 20_000
ALONE_IMAGES = 5_000
"""The discriminator learns alone for a quarter of the warm start, at most for so many pictures."""


def channel_plan(size: int, width: int, top: int) -> tuple[int, ...]:
    """Channels from the coarsest level (4..7 px) to half the picture's side: doubling downwards, at most ``top``."""
    _base, doublings = base_side(size)
    return tuple(min(top, width * 2**level) for level in reversed(range(doublings)))


def code_photos(pictures: Pictures, count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` photos, evenly spread over those trained on, whose codes are kept for blending."""
    shown = pictures.trained_on
    return shown[np.linspace(0, len(shown) - 1, count).astype(int)]


def game_begins(warm_images: int) -> float:
    """Pictures seen from which on both play."""
    return warm_images + min(0.25 * warm_images, ALONE_IMAGES)


def shape(config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
    """The part of a network's description that families with a :func:`channel_plan` share."""
    top = 512 if (config.width or 0) >= 48 else max(64, config.width or 0)
    return {
        "size": facts.size,
        "channels": facts.channels,
        "latent": config.latent,
        "categories": facts.categories,
        "plan": list(channel_plan(facts.size, config.width or 24, top)),
    }


class ModernGenerator(Generator):
    """Random vector and category -> coarse map -> doubled level by level -> picture, about -1..1.

    Every level adds its own picture to the enlarged one of the level before, so that outlines come first and details
    are added to them. The last doubling is a convolution at half the side whose outputs are dealt out to 2 x 2 pixels.
    """

    codes: Tensor
    code_labels: Tensor

    def __init__(
        self, *, size: int, channels: int, latent: int, categories: int, plan: tuple[int, ...], codes: int = 0
    ) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("codes", torch.zeros(codes, min(COMPONENTS, latent)))
        self.register_buffer("code_labels", torch.zeros(codes, dtype=torch.int64))
        self.base, _ = base_side(size)
        embedded = min(latent, 32) if categories else 0
        self.embed = nn.Embedding(categories, embedded) if categories else None
        self.first = nn.Linear(latent + embedded, plan[0] * self.base**2)
        self.mixes = nn.ModuleList(nn.Conv2d(c, c, 3, 1, 1) for c in plan)
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(plan))
        self.pictures = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in plan[:-1])
        self.start = LinearStart(size // 2, channels, self.codes.shape[1], categories) if codes else None
        self.see = nn.Conv2d(channels, plan[-1], 3, 1, 1) if codes else None
        self.last = nn.Conv2d(plan[-1], channels * 4, 3, 1, 1)
        self.deal = nn.PixelShuffle(2)

    def draw(self, rng: Rng, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """Standard normal numbers; after a warm start the first ones are a blend of the codes of two photos.

        Codes of photos fill only a small part of the space of random vectors; in between lie products that could be,
        far from them shapes that are none.
        """
        vectors = super().draw(rng, labels, truncation)
        if not len(self.codes):
            return vectors
        codes, of = self.codes.cpu(), self.code_labels.cpu()
        which = uniform(rng, len(labels), 2)
        share = REACH * uniform(rng, len(labels), 1)
        for row, label in enumerate(labels.tolist()):
            mine = codes[of == label] if self.embed is not None else codes
            if len(mine):
                first = int(which[row, 0] * len(mine))
                # Like photos only: the blend of unlike ones is two products, one shining through the other.
                near = (mine - mine[first])[:, :LOOKS].square().sum(dim=1).argsort()[: NEIGHBOURS + 1]
                second = int(near[int(which[row, 1] * len(near))])
                blend = mine[first] * (1.0 - share[row]) + mine[second] * share[row]
                vectors[row, : codes.shape[1]] = truncation * blend + SPREAD * vectors[row, : codes.shape[1]]
        return vectors

    def latent_rule(self) -> dict[str, Any]:
        if not len(self.codes):
            return super().latent_rule()
        return {
            "kind": "blend",
            "latent": self.latent,
            "by_category": self.embed is not None,
            "neighbours": NEIGHBOURS,
            "looks": LOOKS,
            "spread": SPREAD,
            "reach": REACH,
        }

    def levels(self) -> tuple[tuple[ChannelSlice, ...], ...]:
        found = []
        for level in range(len(self.mixes)):
            into = [_made(f"mixes.{level}")]
            out = [f"mixes.{level}"]
            into.append(_made("first", self.base**2) if level == 0 else _made(f"narrow.{level - 1}"))
            if level < len(self.mixes) - 1:
                out += [f"narrow.{level}", f"pictures.{level}"]
            else:
                out.append("last")
                into += [_made("see")] if self.see is not None else []
            taken = [ChannelSlice(tensor=f"{name}.weight", axis=1) for name in out]
            found.append((*(part for made in into for part in made), *taken))
        return tuple(found)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        h = latents if self.embed is None else torch.cat([latents, self.embed(labels)], dim=1)
        h = self.first(h).view(h.shape[0], -1, self.base, self.base)
        h = leaky_relu(h.contiguous(memory_format=torch.channels_last), SLOPE)
        h = leaky_relu(h + self.mixes[0](h), SLOPE)
        picture: Tensor | None = None
        for mix, show, narrow in zip(self.mixes[1:], self.pictures, self.narrow, strict=True):
            picture = _double(show(h) if picture is None else picture + show(h))
            # Enlarging by interpolation leaves no chessboard, and a 1 x 1 convolution before it is cheap.
            h = _double(narrow(h))
            if self.start is not None and self.see is not None and mix is self.mixes[-1]:
                first = self.start(latents, labels)
                picture = picture + first
                h = h + self.see(first)
            h = leaky_relu(h + mix(h), SLOPE)
        detail: Tensor = self.deal(self.last(h))
        # No tanh: white grounds would drive it so deep into saturation that no gradient comes back.
        return detail if picture is None else _double(picture) + detail


def _made(layer: str, block: int = 1) -> tuple[ChannelSlice, ...]:
    """The rows of a layer that make channels."""
    return tuple(
        ChannelSlice(tensor=f"{layer}.{name}", axis=0, block=block, makes=True) for name in ("weight", "bias")
    )


class LinearStart(nn.Module):
    """A blurred picture straight from the code: the category's mean and a weighted sum of pictures."""

    def __init__(self, side: int, channels: int, components: int, categories: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        self.components = components
        self.mean = nn.Embedding(max(1, categories), channels * side * side)
        self.sum = nn.Linear(components, channels * side * side, bias=False)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        flat = self.mean(labels) + self.sum(latents[:, : self.components])
        return flat.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def fit(self, pictures: Tensor, codes: Tensor, labels: Tensor) -> None:
        """Least squares: the weights that redraw ``pictures`` (-1..1, any size) from their codes best."""
        wanted = adaptive_avg_pool2d(pictures, self.shape[1:]).flatten(1)
        for label in range(self.mean.num_embeddings):
            mine = wanted[labels == label]
            self.mean.weight[label] = mine.mean(dim=0) if len(mine) else wanted.mean(dim=0)
        rest = (wanted - self.mean.weight[labels]).double()
        codes = codes.double()
        ridge = 1e-3 * len(codes) * torch.eye(self.components, dtype=torch.float64)
        self.sum.weight.copy_(torch.linalg.solve(codes.T @ codes + ridge, codes.T @ rest).T.float())


def _double(picture: Tensor) -> Tensor:
    return interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)


class ModernDiscriminator(nn.Module):
    """Strided convolutions to the coarse map, a feature vector, and a logit with projection on the category."""

    def __init__(self, *, size: int, channels: int, categories: int, plan: tuple[int, ...]) -> None:
        super().__init__()
        base, _ = base_side(size)
        down = tuple(reversed(plan))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((channels, *down), down, strict=False))
        features = max(64, down[-1])
        self.mix = nn.Conv2d(down[-1], down[-1], 3, 1, 1)
        self.features = nn.Linear(down[-1] * base**2, features)
        self.logit = nn.Linear(features, 1)
        self.project = nn.Embedding(categories, features) if categories else None

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        h = pictures.contiguous(memory_format=torch.channels_last)
        for down in self.downs:
            h = leaky_relu(down(h), SLOPE)
        h = leaky_relu(h + self.mix(h), SLOPE)
        h = leaky_relu(self.features(h.flatten(1)), SLOPE)
        logit: Tensor = self.logit(h).squeeze(1)
        if self.project is not None:
            logit = logit + (self.project(labels) * h).sum(dim=1) * h.shape[1] ** -0.5
        return logit


def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Scaled normal weights for convolutions and linear layers, standard normal ones for embeddings."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            scaled_normal(layer, rng)
        elif isinstance(layer, nn.Embedding):
            with torch.no_grad():
                layer.weight.normal_(generator=rng)


class ModernLearner(AdversarialLearner):
    """The game, after a warm start (see :mod:`~shopgen_django.ml.warm`).

    First ``warm_images`` pictures: the generator redraws photos. Then, for up to a quarter of that, only the
    discriminator learns, since its first gradients would undo what the generator knows. Then both play, and redrawing
    stays as a small part of the generator's loss: it keeps products whole and every photo within reach.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: nn.Module,
        settings: GameSettings,
        describer: Describer | None,
        warm_images: int,
    ) -> None:
        super().__init__(generator, discriminator, settings)
        self.describer = describer
        self.warm_images = warm_images

    def steer(self, pictures: Pictures, config: TrainConfig, *, begin_at: float = 0.0) -> None:
        super().steer(pictures, config, begin_at=game_begins(self.warm_images))

    def modules(self) -> dict[str, nn.Module]:
        own = {} if self.describer is None else {"describer": self.describer}
        return {**super().modules(), **own}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        if batch.images_seen < self.warm_images:
            return self._descend(batch, self._warm_loss, self._g_optimiser, self._g_parameters, norm="grad_norm_g")
        figures = self._discriminator_step(batch)
        if batch.images_seen >= game_begins(self.warm_images) and self._is_generators_turn(batch):
            figures.update(self._generator_step(batch))
        return figures

    def flops_per_image(self) -> float:
        """``3 G`` more than the game alone when redrawing is part of it."""
        redraw = 0.0
        if self.describer is not None:
            latent = torch.zeros(1, self.generator.latent, device=self._device)
            label = torch.zeros(1, dtype=torch.int64, device=self._device)
            redraw = 3.0 * forward_flops(self.generator, latent, label)[0]
        return super().flops_per_image() + redraw

    def _warm_loss(self, part: Batch) -> tuple[Tensor, Figures]:
        loss = self._redraw(part)
        return loss, {"redraw": loss.detach()}

    def _redraw(self, part: Batch) -> Tensor:
        assert self.describer is not None
        noise = normal(part.rng, len(part.real), self.generator.latent).to(self._device)
        described = self.describer(part.real, part.labels, noise)
        with self._precision():
            drawn = self._make(described, part.labels)
        return (drawn.float() - part.real).abs().mean()

    def _generator_extra(self, part: Batch) -> Tensor | None:
        if self.describer is None or REDRAW_WEIGHT <= 0:
            return None
        return REDRAW_WEIGHT * self._redraw(part)


class Modern(Family):
    """See the module's text."""

    name = "modern"
    losses = ("rp", "ns", "hinge", "lsgan", "wgan-gp")

    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        on_gpu = device.type == "cuda"
        area = (facts.size / 64) ** 2
        loss = LOSSES[config.loss or self.losses[0]]
        return {
            "width": 64 if on_gpu else 16 if facts.size >= 48 else 32,
            "latent": 64,
            "lr": 2e-4 if on_gpu else 1e-3,
            "gamma": 0.0 if loss.slope_weight > 0 else 2.0 * area,
            "batch_size": min(256 if on_gpu else 32, max(8, facts.count)),
            "ema_images": 500_000 if on_gpu else 10_000,
            "warm_images": WARM_IMAGES,
            "n_critic": loss.critic_steps,
        }

    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        return {
            **shape(config, facts),
            "codes": min(MAX_CODES, facts.count) if config.warm_images else 0,
        }

    def build_generator(self, spec: Mapping[str, Any]) -> Generator:
        return ModernGenerator(**{**spec, "plan": tuple(spec["plan"])})

    def create(
        self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures
    ) -> AdversarialLearner:
        spec = self.spec(config, facts)
        generator = self.build_generator(spec)
        discriminator = ModernDiscriminator(
            size=facts.size, channels=facts.channels, categories=facts.categories, plan=tuple(spec["plan"])
        )
        initialise(generator, seeded(config.seed, "init", "generator"))
        initialise(discriminator, seeded(config.seed, "init", "discriminator"))
        with torch.no_grad():
            assert isinstance(generator, ModernGenerator)
            for layer in (generator.last, *generator.pictures):
                layer.weight.mul_(0.25)
            for mix in (*generator.mixes, discriminator.mix):
                mix.weight.mul_(0.5)
            discriminator.logit.weight.mul_(0.1)
            if discriminator.project is not None:
                discriminator.project.weight.mul_(0.1)
        settings = GameSettings(
            loss=LOSSES[config.loss or self.losses[0]],
            augment=choose(config.augment, facts.count, facts.channels),
            gamma=config.gamma or 0.0,
            lr=config.lr or 1e-3,
            betas=(0.0, 0.99),
            bf16=config.precision == "bf16",
            critic_steps=config.n_critic or 1,
        )
        describer = None
        warm = config.warm_images or 0
        if warm:
            # Fitted on the CPU: the same on every machine that has the same photos.
            describer = Describer(
                channels=facts.channels, categories=facts.categories, components=min(COMPONENTS, config.latent or 1)
            )
            shown = pictures.trained_on
            few = shown[:: max(1, -(-len(shown) // MAX_PICTURES))]
            describer.fit(pictures.images[few], pictures.labels[few], flip=config.flip)
            assert isinstance(generator, ModernGenerator)
            some = code_photos(pictures, len(generator.codes))
            labels = torch.from_numpy(pictures.labels[some] * (facts.categories > 0))
            generator.codes.copy_(describer.codes(pictures.images[some], labels))
            generator.code_labels.copy_(labels)
            if generator.start is not None:
                real = torch.from_numpy(pictures.images[some]).float().div(127.5).sub(1.0)
                generator.start.fit(real, generator.codes.cpu(), labels)
            describer.to(device)
        to_device(generator, device)
        to_device(discriminator, device)
        return ModernLearner(generator, discriminator, settings, describer, warm)


FAMILY = Modern()
