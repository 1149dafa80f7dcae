"""What a family provides and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.networks import grad_norm
from shopgen_django.ml.processes import ALONE, Processes
from shopgen_django.ml.runtime import free_memory, is_out_of_memory
from shopgen_django.ml.seeding import Rng, normal, part_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a family may know about the pictures when it chooses its settings."""

    count: int
    size: int
    channels: int
    categories: int
    """Number of categories; 0 when there are none or the run doesn't use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Material of one step. Pictures are ``(n, c, h, w)`` float in -1..1 on the run's device, labels ``(n,)`` int64.

    ``real_again`` are other real pictures, for losses whose generator step looks at real ones. ``rng`` is seeded with
    (seed, step): draw everything random from it, in a fixed order, with the functions of
    :mod:`~shopgen_django.ml.seeding`.
    """

    real: Tensor
    labels: Tensor
    real_again: Tensor
    labels_again: Tensor
    rng: Rng
    images_seen: int
    """Before this step."""
    total: int = 0
    """Pictures of the step in all processes and parts together; 0: those that are here."""

    @property
    def share(self) -> float:
        """These pictures' share of the step: the weight of their mean in the whole's."""
        return len(self.real) / self.total if self.total else 1.0

    def parts(self, size: int) -> Iterator[Batch]:
        """The batch in parts of at most ``size`` pictures (0: whole), each with its own rows of the random numbers.

        ``rng`` stands still while the parts are worked through and then behind all of their numbers.
        """
        count = len(self.real)
        if not size or size >= count:
            yield self
            return
        part = self
        for start in range(0, count, size):
            rows = slice(start, min(count, start + size))
            part = replace(
                self,
                real=self.real[rows],
                labels=self.labels[rows],
                real_again=self.real_again[rows],
                labels_again=self.labels_again[rows],
                rng=part_of(self.rng, rows.start, rows.stop, count),
                total=self.total or count,
            )
            yield part
        self.rng.set_state(part.rng.get_state())


Figures = dict[str, Tensor]
PartLoss = Callable[[Batch], tuple[Tensor, Figures]]
"""Mean loss over the pictures of a batch or a part of one, and figures that are such means too, detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSlice:
    """Where the channels of one level lie in one tensor of a generator; pruning cuts them out there."""

    tensor: str
    """Name in the state dictionary."""
    axis: int
    block: int = 1
    """Neighbouring values of the axis that belong to one channel."""
    makes: bool = False
    """Whether a channel whose values here are zero is zero everywhere, as far as this tensor makes it."""


class Generator(nn.Module):
    """Base of the networks that make pictures: ``forward(latents, labels) -> pictures`` in -1..1.

    ``latents`` is ``(n, latent)`` from :meth:`draw`; ``labels`` ``(n,)`` int64, ignored without categories.
    """

    latent: int

    def draw(self, rng: Rng, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """``(n, latent)`` random vectors on the CPU for pictures of these categories: standard normal here.

        The vector of a row depends on the numbers drawn before it; ``truncation`` below 1 pulls it to the middle.
        """
        return normal(rng, len(labels), self.latent) * truncation


    def levels(self) -> tuple[tuple[ChannelSlice, ...], ...]:
        """For each number of the description's ``plan`` (channels from coarse to fine), where these channels lie.

        Empty for a network whose widths can't be changed; it can be exported, but not pruned or distilled.
        """
        return ()

    def latent_rule(self) -> dict[str, Any]:
        """What :meth:`draw` does, as plain values that :mod:`~shopgen_django.ml.compression.latents` can follow.

        A network with a :meth:`draw` of its own must override this too, else it can't be exported.
        """
        return {"kind": "normal", "latent": self.latent}

    def exportable(self) -> nn.Module:
        """A network with the same ``forward(latents, labels)`` for ONNX: in inference mode, any number of rows."""
        return self


class Learner(ABC):
    """Networks and optimisers of a run, and the step that trains them.

    A step calls :meth:`_descend` once for each player. What else a learner may do is told by the methods with a body:
    each has a default that does nothing.
    """

    generator: nn.Module
    """What is trained and whose average is the model: a :class:`Generator` in families whose purpose is "generate"."""
    processes: Processes = ALONE
    """Who trains along; set by the loop before the first step."""
    micro_batch: int = 0
    """Pictures that go through the networks at once; 0: the whole batch. Halved when memory runs out."""
    share: float = 0.0
    """How much of the wished length has gone, 0..1; set by the loop before each step."""
    lr_scale: float = 1.0
    """Set by :meth:`set_lr_scale`; a learner with a schedule of its own multiplies by it."""
    compiled: str = ""
    """What :meth:`compile_networks` said."""
    say: Callable[[str], None] = staticmethod(lambda text: None)
    """Writes a line into the run's log; set by the loop."""
    may_roll_back: bool = True
    """Whether the loop may put an earlier state back and go on (not where every step counts, as with privacy)."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything with parameters or buffers, by name, the generator among them: what a checkpoint holds."""

    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers, by name."""

    @abstractmethod
    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """One update. Returns figures as detached scalars on the device (no ``.item()`` here: it would stall a GPU)."""

    @abstractmethod
    def flops_per_image(self) -> float:
        """Floating-point operations of one step divided by the batch size, closed form."""

    def before_step(self, step: int, images_seen: int) -> None:  # noqa: B027 - a hook
        """Called before each step (numbered from 0): schedules of learning rates, penalties, augmentation."""

    def end_reason(self) -> str:
        """Why no further step may be taken, in plain words; empty as long as one may. Asked before each step."""
        return ""

    def notes(self) -> tuple[str, ...]:
        """What a person should know before the first step."""
        return ()

    def card(self) -> dict[str, Any]:
        """Plain values (JSON) about how the model came to be, for ``model.json``."""
        return {}

    def compile_networks(self, backend: str) -> str:
        """Have ``torch.compile`` translate what it can; returns what that is, in words, for the log."""
        return "Nothing in this architecture can be compiled."

    def extra_state(self) -> dict[str, Any]:
        """Plain values (JSON) to save besides networks and optimisers."""
        return {}

    def extra_tensors(self) -> dict[str, Tensor]:
        """Tensors to save besides networks and optimisers."""
        return {}

    def load_extra_state(  # noqa: B027 - a hook
        self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> None:
        """The inverse of the two methods above; both empty for a state saved by a learner that had none."""

    def set_lr_scale(self, scale: float) -> None:
        """Multiply the learning rates that the learner was made with by ``scale``."""
        self.lr_scale = scale
        for optimiser in self.optimisers().values():
            for group in optimiser.param_groups:
                group["lr"] = group.setdefault("first_lr", group["lr"]) * scale

    def _descend(
        self,
        batch: Batch,
        loss: PartLoss,
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        *,
        norm: str,
    ) -> Figures:
        """One step of ``optimiser`` down the mean of ``loss`` over the batches of all processes.

        The batch goes through in parts of :attr:`micro_batch` pictures; the gradients add up to the whole's.

        Args:
            batch: this process' rows.
            loss: called for each part. It may be called again for a part, and draws from the part's ``rng`` only.
            optimiser: the one that holds ``parameters``.
            parameters: what is changed; no other gradient is kept.
            norm: the name of the gradients' norm among the figures returned.
        """
        while True:
            place = batch.rng.get_state()
            try:
                figures = self._add_up(batch, loss, optimiser, parameters)
                break
            except RuntimeError as error:
                size = self.micro_batch or len(batch.real)
                if not is_out_of_memory(error) or size < 2:
                    raise
            # Out here, where the exception no longer holds what the failed pass had in memory.
            self.micro_batch = -(-size // 2)
            optimiser.zero_grad(set_to_none=True)
            batch.rng.set_state(place)
            free_memory(batch.real.device)
            self.say(f"Out of memory with {size} pictures at once: going on with parts of {self.micro_batch}.")
        return self._update(optimiser, parameters, figures, norm=norm)

    def _add_up(
        self, batch: Batch, loss: PartLoss, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
    ) -> Figures:
        """Gradients and figures of this process' pictures, weighted by their share of the whole batch."""
        optimiser.zero_grad(set_to_none=True)
        figures: Figures = {}
        for part in batch.parts(self.micro_batch):
            value, found = loss(part)
            share = part.share
            if share == 1.0:
                value.backward(inputs=parameters)
                return found
            (value * share).backward(inputs=parameters)
            for name, figure in found.items():
                figures[name] = figures[name] + figure * share if name in figures else figure * share
        return figures

    def _update(
        self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], figures: Figures, *, norm: str
    ) -> Figures:
        """Sum gradients and figures over all processes, then step. Every optimiser steps here and nowhere else."""
        if self.processes.count > 1:
            figures = self._over_processes(parameters, figures)
        figures[norm] = grad_norm(parameters)
        optimiser.step()
        return figures

    def _over_processes(self, parameters: Sequence[nn.Parameter], figures: Figures) -> Figures:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # Batch norm's running figures are those of a process' own pictures: the mean of all is kept.
        running = [
            statistic
            for module in self.modules().values()
            for layer in module.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm)
            for statistic in (layer.running_mean, layer.running_var)
            if statistic is not None
        ]
        if running:
            torch._foreach_div_(running, float(self.processes.count))
        values = torch.stack([figure.float() for figure in figures.values()])
        self.processes.sum_([*gradients, *running, values])
        return dict(zip(figures, values.unbind(), strict=True))


class Sheet(Protocol):
    """What a run shows of itself: the same thing at every snapshot, so that one can watch it grow."""

    def draw(self, network: nn.Module) -> tuple[bytes, float]:
        """A PNG, and the variety of the pictures within it (mean standard deviation per pixel, on the scale -1..1)."""
        ...

    def reals(self, pictures: Pictures) -> bytes:
        """Real pictures in the same layout, as PNG."""
        ...


class Family(ABC):
    """A kind of network with the way it is trained: usually a generator."""

    name: str
    losses: tuple[str, ...]
    """Names that ``--loss`` may take; the first is the default."""
    purpose: str = "generate"
    """What its models are for. A model is active for its purpose only, and only "generate" can be sampled from."""
    default_size: int = 64
    """Side of the pictures when neither the options nor the source say."""

    @abstractmethod
    def resolve(self, config: TrainConfig, facts: DataFacts, device: torch.device) -> dict[str, Any]:
        """Values for the options of ``config`` that are ``None``."""

    @abstractmethod
    def spec(self, config: TrainConfig, facts: DataFacts) -> dict[str, Any]:
        """Plain values (JSON) from which :meth:`build_generator` makes the same network again."""

    @abstractmethod
    def build_generator(self, spec: Mapping[str, Any]) -> nn.Module:
        """The network that is the model, freshly initialised: a :class:`Generator` for the purpose "generate"."""

    @abstractmethod
    def create(self, config: TrainConfig, facts: DataFacts, device: torch.device, pictures: Pictures) -> Learner:
        """Networks and optimisers, initialised from ``config.seed`` and the pictures alone."""

    def sheet(
        self, config: TrainConfig, facts: DataFacts, learner: Learner, pictures: Pictures, device: torch.device
    ) -> Sheet:
        """What the run shows of itself: pictures from the same random vectors, unless a family has better to show."""
        from shopgen_django.ml.samples import SampleGrid

        assert isinstance(learner.generator, Generator)
        return SampleGrid(config, facts, learner.generator, device)
