"""Takes noise out of photos: residual learning (after DnCNN and FFDNet, Zhang et al. 2017, 2018).

Clean photos are the shop's own, made noisy anew at each step (:mod:`~shopgen_django.ml.noise`). The network learns the
difference with an L1 or Charbonnier loss; with ``adversarial`` above 0 a patch discriminator's judgement is added,
which keeps grain and edges crisper for less PSNR. A second, small network learns to tell the level and the kind of
noise, so that a photo can be restored without knowing them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from shopgen_django.ml import noise
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.networks import forward_flops, scaled_normal, to_device
from shopgen_django.ml.noise import KINDS, Noisy, add_noise, rms
from shopgen_django.ml.pictures import png_bytes, sheet, to_pillow
from shopgen_django.ml.samples import to_bytes
from shopgen_django.ml.seeding import generator as seeded
from shopgen_django.ml.seeding import normal, uniform

from .base import Batch, DataFacts, Family, Figures, Learner, Sheet
from .restorer import LEVEL_UNIT, PatchJudge, Restorer

CROP = 48
"""Side of the pieces that are trained on."""
DEPTH = 7
ESTIMATOR_WIDTH, JUDGE_WIDTH = 16, 24
SMOOTH = 1e-3
"""Charbonnier's epsilon, in -1..1: the root of the squared difference plus its square."""
JITTER = 0.1
"""The level is told a little wrong, as an estimate is."""
ROWS = 8
SHOWN = (("gaussian", 25.0), ("camera", None))
"""What the sheet shows: Gaussian noise of 25 and a camera's, a triple of noisy, restored, clean each."""


FALL_FROM, LAST_RATE = 0.7, 1e-3


def falling(share: float) -> float:
    """Factor of the learning rate when ``share`` (0..1) of the run has gone: 1, then along a cosine to nearly nothing.

    At a constant rate weights go on shaking, and plain ground keeps a grain that the eye sees; the network that ships
    gained 1.4 to 2.5 dB on studio photos from such an end (training/denoiser/finish.py).
    """
    gone = min(1.0, max(0.0, (share - FALL_FROM) / (1.0 - FALL_FROM)))
    return LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * gone))


class DenoiserLearner(Learner):
    """One step: cut pieces, add noise, restore them; then the discriminator of patches, when there is one."""

    generator: Restorer

    def __init__(
        self,
        generator: Restorer,
        judge: PatchJudge | None,
        *,
        loss: str,
        kinds: tuple[str, ...],
        adversarial: float,
        lr: float,
        bf16: bool,
    ) -> None:
        self.generator = generator
        self.judge = judge
        self._loss_name = loss
        self._kinds = kinds
        self._adversarial = adversarial
        self._bf16 = bf16
        self._lr = lr
        self._device = next(generator.parameters()).device
        self._g_parameters = list(generator.parameters())
        self._g_optimiser = torch.optim.Adam(self._g_parameters, lr=lr, betas=(0.9, 0.99), eps=1e-8, fused=True)
        if judge is not None:
            self._d_parameters = list(judge.parameters())
            self._d_optimiser = torch.optim.Adam(self._d_parameters, lr=lr, betas=(0.5, 0.99), eps=1e-8, fused=True)

    def modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, **({} if self.judge is None else {"discriminator": self.judge})}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self._g_optimiser, **({} if self.judge is None else {"discriminator": self._d_optimiser})}

    def before_step(self, step: int, images_seen: int) -> None:
        rate = self._lr * self.lr_scale * falling(self.share)
        for optimiser in self.optimisers().values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(device_type=self._device.type, dtype=torch.bfloat16, enabled=self._bf16):
            yield

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        figures = self._descend(batch, self._loss, self._g_optimiser, self._g_parameters, norm="grad_norm_g")
        if self.judge is not None:
            figures |= self._descend(batch, self._judge_loss, self._d_optimiser, self._d_parameters, norm="grad_norm_d")
        return figures

    def _pieces(self, part: Batch) -> tuple[Tensor, Noisy, Tensor]:
        """Clean pieces, noisy ones, and the level as it is told to the network."""
        side = min(CROP, part.real.shape[2])
        room = part.real.shape[2] - side
        places = (uniform(part.rng, len(part.real), 2) * (room + 1)).long().clamp_max(room).tolist()
        clean = torch.stack(
            [picture[:, y : y + side, x : x + side] for picture, (y, x) in zip(part.real, places, strict=True)]
        )
        noisy = add_noise(clean, part.rng, self._kinds)
        wrong = (JITTER * normal(part.rng, len(clean))).exp().to(self._device)
        return clean, noisy, noisy.level * wrong

    def _loss(self, part: Batch) -> tuple[Tensor, Figures]:
        clean, noisy, told = self._pieces(part)
        with self._precision():
            restored = self.generator(noisy.pictures, told, noisy.coloured).float()
            estimate = self.generator.estimator(noisy.pictures)
        difference = restored - clean
        if self._loss_name == "l1":
            loss = difference.abs().mean()
        else:
            loss = (difference.square() + SMOOTH**2).sqrt().mean()
        figures = {"loss_g": loss.detach()}
        off = (estimate.level - noisy.level).abs() / LEVEL_UNIT
        kind = binary_cross_entropy_with_logits(estimate.coloured, noisy.coloured)
        total = loss + 0.1 * off.mean() + 0.01 * kind
        if self.judge is not None:
            with self._precision():
                judged = softplus(-self.judge(restored)).float().mean()
            total = total + self._adversarial * judged
            figures["adversarial"] = judged.detach()
        with torch.no_grad():
            before, after = (_psnr(pictures.clamp(-1.0, 1.0), clean) for pictures in (noisy.pictures, restored))
            figures |= {
                "psnr": after.mean(),
                "psnr_gain": (after - before).mean(),
                "level_off": LEVEL_UNIT * off.detach().mean(),
            }
        return total, figures

    def _judge_loss(self, part: Batch) -> tuple[Tensor, Figures]:
        assert self.judge is not None
        clean, noisy, told = self._pieces(part)
        with torch.no_grad(), self._precision():
            restored = self.generator(noisy.pictures, told, noisy.coloured)
        with self._precision():
            real, fake = self.judge(torch.cat([clean, restored.float()])).float().chunk(2)
        loss = softplus(-real).mean() + softplus(fake).mean()
        right = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return loss, {"loss_d": loss.detach(), "accuracy_d": right.detach()}

    def flops_per_image(self) -> float:
        """``3 G``, and with a discriminator ``1 G + 9 D`` more, on a piece."""
        piece = torch.zeros(1, self.generator.channels, CROP, CROP, device=self._device)
        one = torch.zeros(1, device=self._device)
        g, _ = forward_flops(self.generator, piece, one, one)
        e, _ = forward_flops(self.generator.estimator, piece)
        if self.judge is None:
            return 3.0 * (g + e)
        return 4.0 * g + 3.0 * e + 9.0 * forward_flops(self.judge, piece)[0]


def _psnr(pictures: Tensor, clean: Tensor) -> Tensor:
    """``(n,)`` dB; pictures equal to the last bit count as 80."""
    return 10.0 * torch.log10(4.0 / (pictures - clean).square().flatten(1).mean(dim=1).clamp_min(4e-8))


class DenoiserSheet:
    """Noisy, restored, clean: a triple for each kind of noise shown, the same photos and noise every time."""

    def __init__(self, config: TrainConfig, learner: DenoiserLearner, pictures: Pictures, device: torch.device) -> None:
        # Photos that were held out, when there are some: what the network does to those it has not seen.
        shown = pictures.held_out if len(pictures.held_out) else np.arange(len(pictures.images))
        some = shown[np.linspace(0, len(shown) - 1, min(ROWS, len(shown))).astype(int)]
        clean = torch.from_numpy(pictures.images[some]).float() / 255.0
        self._clean = clean * 2.0 - 1.0
        self._device = device
        self._noisy: list[tuple[Tensor, Tensor, Tensor]] = []
        for kind, sigma in SHOWN:
            if kind not in (config.noise or KINDS):
                continue
            grain = torch.randn(clean.shape, generator=seeded(config.seed, "sheet", kind))
            n = len(clean)
            if sigma is not None:
                made, level = noise.gaussian(clean, grain, torch.full((n,), sigma)), torch.full((n,), sigma)
            else:
                made = noise.camera(clean, grain, torch.full((n,), 0.012), torch.full((n,), 0.006))
                made = noise.jpeg(made, [85] * n)
                level = rms(made, clean)
            self._noisy.append((made * 2.0 - 1.0, level, torch.full((n,), float(sigma is None))))
        if not self._noisy:  # JPEG alone
            made = noise.jpeg(clean, [40] * len(clean))
            self._noisy.append((made * 2.0 - 1.0, rms(made, clean), torch.ones(len(clean))))

    @torch.no_grad()
    def draw(self, network: nn.Module) -> tuple[bytes, float]:
        columns: list[Tensor] = []
        for noisy, level, coloured in self._noisy:
            restored = network(noisy.to(self._device), level.to(self._device), coloured.to(self._device))
            columns += [noisy, restored.float().cpu(), self._clean]
        variety = float(columns[1].std(dim=0).mean()) if len(self._clean) > 1 else 1.0
        return self._sheet(columns), variety

    def reals(self, pictures: Pictures) -> bytes:
        return self._sheet([self._clean] * (3 * len(self._noisy)))

    def _sheet(self, columns: list[Tensor]) -> bytes:
        rows = torch.stack(columns, dim=1).flatten(0, 1)
        scale = max(1, 64 // rows.shape[2])
        return png_bytes(sheet([to_pillow(a) for a in to_bytes(rows)], columns=len(columns), scale=scale))


class Denoiser(Family):
    """See the module's text."""

    name = "denoiser"
    losses = ("charbonnier", "l1")
    purpose = "denoise"
    default_size = 128

    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        if facts.channels == 4:
            raise ConfigError("--architecture denoiser learns grey or colour: use --channels 1 or 3.")
        on_gpu = device.type == "cuda"
        return {
            "width": 48,
            "lr": 1e-3,
            "gamma": 0.0,
            "batch_size": min(64 if on_gpu else 8, max(8, facts.count)),
            "ema_images": 5_000,
            "warm_images": 0,
            "adversarial": 0.0,
        }

    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        return {
            "channels": facts.channels, "width": config.width, "depth": DEPTH, "estimator_width": ESTIMATOR_WIDTH
        }  # fmt: skip

    def build_generator(self, spec: Mapping[str, Any]) -> nn.Module:
        return Restorer(**spec)

    def create(
        self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures
    ) -> DenoiserLearner:
        network = self.build_generator(self.spec(config, facts))
        assert isinstance(network, Restorer)
        network.initialise(seeded(config.seed, "init", "generator"))
        to_device(network, device)
        judge = None
        if config.adversarial:
            judge = PatchJudge(channels=facts.channels, width=JUDGE_WIDTH)
            rng = seeded(config.seed, "init", "discriminator")
            for layer in (*judge.layers, judge.last):
                scaled_normal(layer, rng)
            to_device(judge, device)
        return DenoiserLearner(
            network,
            judge,
            loss=config.loss or self.losses[0],
            kinds=config.noise or KINDS,
            adversarial=config.adversarial or 0.0,
            lr=config.lr or 1e-3,
            bf16=config.precision == "bf16",
        )

    def sheet(
        self, config: TrainConfig, facts: DataFacts, learner: Learner, pictures: Pictures, device: torch.device
    ) -> Sheet:
        assert isinstance(learner, DenoiserLearner)
        return DenoiserSheet(config, learner, pictures, device)


FAMILY = Denoiser()
