"""The base's network with a LoRA on its attention, and one step of learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shopgen_django.engines.diffusers.loading import load_part
from shopgen_django.ml.errors import CheckpointError, Diverged
from shopgen_django.ml.positions import derive
from shopgen_django.ml.seeding import Shuffle, generator, normal, whole

from .base import Base
from .config import LoraConfig
from .material import Material
from .objective import Objective
from .photos import Photos

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The projections of every attention (Hu et al. 2021 adapt the same ones)."""


class Learner:
    """Trains ``unet``; everything random is a function of seed and step, so that a run goes on as if never stopped."""

    def __init__(
        self, diffusers: Any, base: Base, photos: Photos, material: Material, config: LoraConfig, objective: Objective
    ) -> None:
        import torch
        from peft import LoraConfig as Adapter

        component = base.folder.component("unet")
        assert component is not None
        self.config, self.material, self.objective, self._xl = config, material, objective, base.xl
        self.device = torch.device(config.device)
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.unet = load_part(diffusers, component, "bfloat16" if config.precision == "bf16" else "float32")
        self.unet.requires_grad_(False)
        alpha: Any = config.alpha or config.rank  # its type says whole numbers, which it does not need
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "adapter"))
            self.unet.add_adapter(
                Adapter(r=config.rank, lora_alpha=alpha, target_modules=list(TARGETS))
            )
        self.adapted = {name: value for name, value in self.unet.named_parameters() if value.requires_grad}
        for value in self.adapted.values():
            value.data = value.data.float()  # small steps would be lost in half precision
        self.unet.to(self.device)
        if config.checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.optimiser = torch.optim.AdamW(
            self.adapted.values(), lr=config.lr, weight_decay=config.weight_decay, foreach=False
        )
        self._captions = [photo.caption for photo in photos.photos]
        self._plain = [photo.plain for photo in photos.photos]
        self._order = Shuffle(photos.trained_on, config.seed, "photos")

    def step(self, number: int) -> dict[str, Tensor]:
        """Step ``number`` (from 0): gradients of ``accumulate`` batches, clipped, one step of AdamW.

        Raises:
            Diverged: the loss or the gradient is not a finite number; no weight was changed.
        """
        import torch

        config = self.config
        total = torch.zeros(())
        for part in range(config.accumulate):
            start = (number * config.accumulate + part) * config.batch
            loss = self._loss(self._order.take(start, config.batch).tolist(), number, part) / config.accumulate
            loss.backward()
            total += loss.detach().cpu()
        norm = torch.nn.utils.clip_grad_norm_(self.adapted.values(), config.clip)
        if not bool(torch.isfinite(total)) or not bool(torch.isfinite(norm)):
            self.optimiser.zero_grad(set_to_none=True)
            raise Diverged(
                f"The loss is no longer a finite number at step {number}. The last good state is kept. Try a smaller "
                "--lr, or --precision fp32, with --fresh."
            )
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * min(1.0, (number + 1) / max(1, config.warmup))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {"loss": total, "grad_norm": norm.detach().cpu()}

    def _loss(self, index: list[int], number: int, part: int) -> Tensor:
        config = self.config
        latents = self.material.latents(index, config.seed, number, part)
        source = generator(config.seed, "step", number, part)
        noise = normal(source, len(index), *latents.shape[1:])
        times = whole(source, 0, self.objective.steps, len(index))
        errors = self.errors(latents, noise, times, index)
        loss = (self.objective.weight(times).to(errors) * errors).mean()
        if config.prior:
            loss = loss + config.prior * self._prior(self.objective.noisy(latents, noise, times), times, index)
        return loss

    def _prior(self, noisy: Tensor, times: Tensor, index: list[int]) -> Tensor:
        """How far the network has left the base where the trigger isn't named."""
        import torch

        words = [self._plain[each] for each in index]
        with torch.no_grad():
            self.unet.disable_adapters()
            before = self.answer(noisy, times, words, index)
            self.unet.enable_adapters()
        return (self.answer(noisy, times, words, index) - before).square().mean()

    def errors(self, latents: Tensor, noise: Tensor, times: Tensor, index: list[int]) -> Tensor:
        """``(n,)`` mean squared errors of the network's answers about photos ``index`` at ``times``."""
        answer = self.answer(
            self.objective.noisy(latents, noise, times), times, [self._captions[each] for each in index], index
        )
        target = self.objective.target(latents, noise, times).to(self.device)
        error: Tensor = (answer - target).square().mean(dim=(1, 2, 3))
        return error

    def answer(self, noisy: Tensor, times: Tensor, words: list[str], index: list[int]) -> Tensor:
        """What the network says, in float32."""
        import torch

        place: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        texts = torch.stack([self.material.texts[text] for text in words]).to(**place)
        added = None
        if self._xl:
            added = {
                "text_embeds": torch.stack([self.material.pooled[text] for text in words]).to(**place),
                "time_ids": self.material.times[index].to(self.device),
            }
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            said: Tensor = self.unet(
                noisy.to(**place), times.to(self.device), encoder_hidden_states=texts, added_cond_kwargs=added
            ).sample
        return said.float()

    # -- saved and put back ------------------------------------------------------------------------

    def collect(self) -> dict[str, Tensor]:
        """The LoRA and the optimiser's memory as named tensors."""
        import torch

        tensors = {f"lora/{name}": value for name, value in self.adapted.items()}
        for name, value in self.adapted.items():
            for key, kept in self.optimiser.state.get(value, {}).items():
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(kept)
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a collected state back. Raises CheckpointError when it is of another network."""
        import torch

        names = {name.removeprefix("lora/") for name in tensors if name.startswith("lora/")}
        if names != set(self.adapted) or any(
            tensors[f"lora/{name}"].shape != value.shape for name, value in self.adapted.items()
        ):
            raise CheckpointError("The saved state does not fit the base's network. Start over with --fresh.")
        with torch.no_grad():
            for name, value in self.adapted.items():
                value.copy_(tensors[f"lora/{name}"])
                found = {key: tensors[f"optimiser/{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                         if f"optimiser/{key}/{name}" in tensors}  # fmt: skip
                if found:
                    self.optimiser.state[value] = {
                        key: kept.clone() if key == "step" else torch.empty_like(value).copy_(kept)
                        for key, kept in found.items()
                    }

    def finite(self) -> bool:
        """Whether every number of the LoRA is one."""
        import torch

        return all(bool(torch.isfinite(value).all()) for value in self.adapted.values())
