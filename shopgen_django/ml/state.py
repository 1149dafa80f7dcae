"""A learner and its average as named tensors, and back, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .ema import Ema
from .errors import CheckpointError
from .families.base import Learner


def collect(learner: Learner, ema: Ema) -> dict[str, Tensor]:
    """Everything that a step reads or changes. (Sampling and augmentation have no state: see :mod:`.seeding`.)

    The learner's own tensors (:meth:`~.families.base.Learner.extra_tensors`) are among them.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in learner.modules().items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"ema/{key}": value for key, value in ema.module.state_dict().items()}
    for name, optimiser in learner.optimisers().items():
        for index, parameter in enumerate(_parameters(optimiser)):
            for key, value in optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser/{name}/{index}/{key}"] = torch.as_tensor(value)
    tensors |= {f"extra/{name}": value for name, value in learner.extra_tensors().items()}
    return tensors


@torch.no_grad()
def restore(learner: Learner, ema: Ema, tensors: Mapping[str, Tensor], extra: Mapping[str, Any] | None = None) -> None:
    """Put a collected state back; ``extra`` is what the learner's ``extra_state`` gave.

    Raises:
        CheckpointError: names or shapes don't fit these networks.
    """
    try:
        for name, module in learner.modules().items():
            module.load_state_dict(_under(tensors, f"module/{name}/"))
        ema.module.load_state_dict(_under(tensors, "ema/"))
        for name, optimiser in learner.optimisers().items():
            for index, parameter in enumerate(_parameters(optimiser)):
                saved = _under(tensors, f"optimiser/{name}/{index}/")
                optimiser.state.pop(parameter, None)
                if saved:
                    optimiser.state[parameter] = {k: _like(parameter, v) for k, v in saved.items()}
        learner.load_extra_state(extra or {}, _under(tensors, "extra/"))
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"The saved state doesn't fit the networks of this version: {error}") from None


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every value is a finite number."""
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Moments get the parameter's memory layout back; counters stay as they are."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)
