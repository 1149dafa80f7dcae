"""What the network is asked for at a moment of the noise, and how much that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Objective:
    """The base's own noise schedule and its own kind of prediction (DDPM, Ho et al. 2020; v: Salimans and Ho 2022)."""

    def __init__(self, diffusers: Any, scheduler: Any, *, prediction: str, min_snr: float) -> None:
        """``min_snr``: gamma of the weighting; 0 for none."""
        made = diffusers.DDPMScheduler.from_config(scheduler.config)
        self.steps = int(made.config.num_train_timesteps)
        self._alphas: Tensor = made.alphas_cumprod.double()
        self._velocity = prediction == "v_prediction"
        self._gamma = min_snr

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """``(n, c, h, w)`` latents at their moments ``(n,)``: sqrt(a) x + sqrt(1 - a) noise."""
        signal, share = self._shares(times, latents)
        return signal * latents + share * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network should answer: the noise, or v = sqrt(a) noise - sqrt(1 - a) x."""
        if not self._velocity:
            return noise
        signal, share = self._shares(times, latents)
        return signal * noise - share * latents

    def weight(self, times: Tensor) -> Tensor:
        """``(n,)`` weights of the squared errors: min(SNR, gamma) / SNR for the noise, / (SNR + 1) for v, so that all
        moments count alike for the picture behind the noise (Hang et al. 2023). 1 with gamma 0."""
        import torch

        alphas = self._alphas[times.cpu()]
        if not self._gamma:
            return torch.ones_like(alphas).float()
        ratio = alphas / (1.0 - alphas).clamp_min(1e-12)
        if self._velocity:
            return (ratio.clamp_max(self._gamma) / (ratio + 1.0)).float()
        # Written so that a moment of pure noise (ratio 0) has its limit, 1.
        return (self._gamma / ratio.clamp_min(1e-12)).clamp_max(1.0).float()

    def _shares(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self._alphas[times.cpu()].reshape(-1, 1, 1, 1)
        return alphas.sqrt().to(like), (1.0 - alphas).sqrt().to(like)
