"""Noise, targets and weights against their formulas, for both kinds of prediction."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shopgen_django.engines.diffusers.install import load_libraries
from shopgen_django.engines.lora_training.objective import Objective
from tests.diffusion.tiny import scheduler

TIMES = torch.tensor([0, 10, 400, 999])


def objective(prediction: str, **values: Any) -> tuple[Objective, Any]:
    diffusers = load_libraries()
    made = Objective(diffusers, scheduler(), prediction=prediction, **{"min_snr": 5.0, **values})
    return made, diffusers.DDPMScheduler.from_config(scheduler().config)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_and_target_are_those_of_the_library(prediction: str) -> None:
    made, theirs = objective(prediction)
    latents, noise = torch.randn(2, 4, 4, 2, 2, generator=torch.Generator().manual_seed(0)).unbind(0)
    assert torch.allclose(made.noisy(latents, noise, TIMES), theirs.add_noise(latents, noise, TIMES), atol=1e-6)
    wanted = noise if prediction == "epsilon" else theirs.get_velocity(latents, noise, TIMES)
    assert torch.allclose(made.target(latents, noise, TIMES), wanted, atol=1e-6)


def test_weights_by_the_formula() -> None:
    alphas = objective("epsilon")[1].alphas_cumprod.double()[TIMES]
    ratio = alphas / (1 - alphas)
    held = ratio.clamp(max=5.0)
    assert torch.allclose(objective("epsilon")[0].weight(TIMES).double(), held / ratio, rtol=1e-5)
    assert torch.allclose(objective("v_prediction")[0].weight(TIMES).double(), held / (ratio + 1), rtol=1e-5)
    assert objective("epsilon", min_snr=0.0)[0].weight(TIMES).tolist() == [1.0] * 4
    assert objective("epsilon")[0].weight(TIMES)[0] < 0.1 < 0.99 < float(objective("epsilon")[0].weight(TIMES)[-1])
