"""The step of private training: a discriminator whose gradients are clipped and noised, a generator that sees only it.

After Bie, Kamath and Zhang 2023: real and made pictures go through the discriminator together, each picture's gradient
is clipped, noise goes on the sum; several discriminator steps for one of the generator, more when the discriminator
falls behind. Whether it does is judged on made pictures alone.

Why the sum is private: the made pictures of a step depend on the networks and on public random numbers, so they are
the same whether a unit takes part or not; the unit adds one gradient of length at most ``clip``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from shopgen_django.ml.errors import CheckpointError, ConfigError
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import Batch, Figures, Generator, Learner
from shopgen_django.ml.networks import forward_flops, grad_norm, parameter_count
from shopgen_django.ml.seeding import Rng, whole

from .accounting import Ledger, require_opacus
from .plan import Plan, plain_words, plan_from_dict
from .secret import keyed_digest, normals

PER_PICTURE_BYTES = 256 << 20
"""Memory for the gradients of single pictures at once; beyond it they are worked through in parts."""

PictureLoss = Callable[[Tensor], Tensor]
# What the discriminator minimises for one real and one made picture: the terms of ml.losses, before the mean is taken.
SINGLE_LOSSES: dict[str, tuple[PictureLoss, PictureLoss]] = {
    "ns": (lambda real: softplus(-real), softplus),
    "minimax": (lambda real: softplus(-real), softplus),
    "hinge": (lambda real: relu(1.0 - real), lambda fake: relu(1.0 + fake)),
    "lsgan": (lambda real: 0.5 * (real - 1.0).square(), lambda fake: 0.5 * fake.square()),
}


class Pace:
    """How many discriminator steps go before one of the generator.

    A noised discriminator learns slowly, and a generator that is ahead of it learns nothing. When it calls fewer than
    :attr:`ENOUGH` of the made pictures made, over some time, the number goes up one rung; when it calls nearly all of
    them made, it goes down one.
    """

    RUNGS = (1, 2, 5, 10, 20, 50, 100, 200)
    ENOUGH, TOO_MUCH = 0.7, 0.95
    KEEP = 0.95
    PATIENCE = 20
    """Generator steps between two rungs."""

    def __init__(self, fixed: int | None = None) -> None:
        self.fixed = fixed
        self.rung = 0
        self.right = 1.0
        """Running share of made pictures that were called made."""
        self.waited = 0
        self.generator_steps = 0

    @property
    def every(self) -> int:
        """Discriminator steps for one of the generator."""
        return self.fixed or self.RUNGS[self.rung]

    def observe(self, right: float) -> bool:
        """Take in a discriminator step; whether the generator's turn has come."""
        self.right = self.KEEP * self.right + (1.0 - self.KEEP) * right
        self.waited += 1
        if self.waited < self.every:
            return False
        self.waited = 0
        self.generator_steps += 1
        if self.generator_steps >= self.PATIENCE and not self.ENOUGH <= self.right <= self.TOO_MUCH:
            step = 1 if self.right < self.ENOUGH else -1
            self.rung = min(max(0, self.rung + step), len(self.RUNGS) - 1)
            self.generator_steps = 0
        return True

    def state(self) -> dict[str, Any]:
        names = ("rung", "right", "waited", "generator_steps")
        return {name: getattr(self, name) for name in names}

    def load(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class PrivateLearner(Learner):
    """Plays the game of ``game``'s networks privately.

    Args:
        game: networks, loss and learning rate; its own optimisers and step aren't used.
        categories: made pictures get each of so many categories equally often (0: none). How often the photos have
            them is itself about the photos.
        batch: real pictures expected in a step, and made pictures in it.
        pace: a fixed number of discriminator steps for one of the generator; ``None`` adapts it.
        look: also give out figures of real pictures (``--unsafe-metrics``).
    """

    generator: Generator
    may_roll_back = False

    def __init__(
        self, game: AdversarialLearner, *, categories: int, batch: int, pace: int | None = None, look: bool = False
    ) -> None:
        self.generator = game.generator
        self.discriminator = game.discriminator
        self.settings = game.settings
        self.pace = Pace(pace)
        self.plan: Plan | None = None
        self._look = look
        self._categories = categories
        self._batch = batch
        self._device = next(game.generator.parameters()).device
        self._real_loss, self._fake_loss = SINGLE_LOSSES[game.settings.loss.name]
        check_apart(self.discriminator, game.generator, self._device)
        lr, betas = game.settings.lr, (0.5, 0.999)
        self._g_optimiser = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas, fused=True)
        self._inner = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=betas, fused=True)
        self._g_parameters = list(self.generator.parameters())
        self._d_parameters = list(self.discriminator.parameters())
        self._hooks = hooked(self.discriminator)
        self._d_optimiser: Any = None
        self._ledger: Ledger | None = None
        self._secret = b""
        # The newest figures of what doesn't happen in every step: the meter wants the same names each time.
        names = ("loss_g", "grad_norm_g", *(("real_logit", "loss_d") if look else ()))
        self._latest = {name: torch.zeros((), device=self._device) for name in names}

    @property
    def ledger(self) -> Ledger:
        """What was spent; there is one once the run has begun."""
        assert self._ledger is not None
        return self._ledger

    def hold(self, secret: bytes) -> None:
        """The secret that noise is drawn from; before a state is loaded."""
        self._secret = secret

    def begin(self, plan: Plan) -> None:
        """Settle noise and budget, before the first step of a new run."""
        self.plan, self._ledger = plan, plan.ledger()
        self._d_optimiser = secret_noise_optimiser(
            self._inner, noise=plan.noise, clip=plan.clip, expected=2 * self._batch
        )

    def notes(self) -> tuple[str, ...]:
        """The promise in plain words, and whether it can work with so many products."""
        assert self.plan is not None
        return tuple(plain_words(self.plan, parameter_count(self.discriminator)))

    def card(self) -> dict[str, Any]:
        """What ``model.json`` says about the promise; goes into the model version's row."""
        plan = self.plan
        assert plan is not None
        spent = self.ledger.epsilon()
        return {
            "metrics": {"epsilon": spent},  # in place of all figures: speeds tell a little about lengths of batches
            "privacy": {
                "epsilon": spent,
                "delta": plan.delta,
                "target_epsilon": plan.epsilon,
                "unit": "product" if plan.named else "file",
                "units": plan.units,
                "neighbours": "one unit added or removed",
                "noise": plan.noise,
                "clip": plan.clip,
                "sample_rate": plan.sample_rate,
                "steps": self.ledger.steps,
                "accountant": "prv",
                "unsafe_metrics": self._look,
            },
        }

    def before_step(self, step: int, images_seen: int) -> None:
        """Refuses to be one of several processes (a launcher may have started more than the options say)."""
        if self.processes.count > 1:
            raise ConfigError("--dp-epsilon: private training runs in one process; start it without a launcher.")

    def end_reason(self) -> str:
        """Ends the run before a step that the budget doesn't pay for."""
        if self._ledger is None or not self._ledger.spent:
            return ""
        return f"the privacy budget is spent: epsilon {self._ledger.epsilon():.3g}"

    def extra_state(self) -> dict[str, Any]:
        """Plan, steps charged, pace: a resumed run goes on where the budget stands."""
        assert self.plan is not None
        return {
            "plan": self.plan.as_dict(),
            "charged": self.ledger.steps,
            "pace": self.pace.state(),
            "secret": keyed_digest(self._secret, "secret"),
            "figures": {name: float(value) for name, value in self._latest.items()},
        }

    def load_extra_state(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up plan and budget.

        Raises:
            ConfigError: the state is of a run that was not private.
            CheckpointError: the run's secret is gone: the same steps would be taken with other noise, for free.
        """
        if "plan" not in values:
            raise ConfigError(
                "The run in this folder began without --dp-epsilon, so its networks have already seen the photos "
                "unprotected. Start over with --fresh, or use another --output."
            )
        if values["secret"] != keyed_digest(self._secret, "secret"):
            raise CheckpointError(
                "The secret of this private run (private/secret) is gone or another one. Restore it from a copy, or "
                "start over with --fresh, which spends a budget of its own."
            )
        self.begin(plan_from_dict(values["plan"]))
        self.ledger.steps = int(values["charged"])
        self.pace.load(values["pace"])
        for name, value in values["figures"].items():
            if name in self._latest:
                self._latest[name] = torch.tensor(value, device=self._device)

    def modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self._g_optimiser, "discriminator": self._inner}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """One discriminator step, and one of the generator when it is its turn."""
        figures = self._discriminator_step(batch)
        if self.pace.observe(float(figures["fakes_right"])):
            self._latest |= self._generator_step(batch.rng)
        return figures | self._latest

    def _discriminator_step(self, batch: Batch) -> Figures:
        fake_labels = self._labels(batch.rng)
        with torch.no_grad():
            latents = self.generator.draw(batch.rng, fake_labels.cpu()).to(self._device)
            fake = self.generator(latents, fake_labels).float()
        pictures = torch.cat([fake, batch.real])
        number = self.ledger.steps
        self.ledger.charge()
        optimiser = self._d_optimiser
        optimiser.zero_grad(set_to_none=True)
        logits = self._accumulate(pictures, torch.cat([fake_labels, batch.labels]), made=len(fake))
        optimiser.take_step(self._secret, number)
        fake_logits, real_logits = logits[: len(fake)], logits[len(fake) :]
        if self._look and len(real_logits):
            loss = self._real_loss(real_logits).mean() + self._fake_loss(fake_logits).mean()
            self._latest |= {"real_logit": real_logits.mean(), "loss_d": loss}
        middle = 0.5 if self.settings.loss.name == "lsgan" else 0.0
        return {
            "fake_logit": fake_logits.mean(),
            "fakes_right": (fake_logits < middle).float().mean(),
            "steps_per_g": torch.tensor(float(self.pace.every), device=self._device),
            "grad_norm_d": grad_norm(self._d_parameters),
        }

    def _accumulate(self, pictures: Tensor, labels: Tensor, *, made: int) -> Tensor:
        """Add up the clipped gradients of all pictures, a part at a time; the logits, detached."""
        size = self.micro_batch or max(1, PER_PICTURE_BYTES // (4 * parameter_count(self.discriminator)))
        logits: list[Tensor] = []
        self._hooks.enable_hooks()
        for start in range(0, len(pictures), size):
            rows = slice(start, min(len(pictures), start + size))
            with warnings.catch_warnings():
                # The input needs no gradient, and PyTorch says that hooks fire all the same. They should.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                found = self.discriminator(pictures[rows], labels[rows])
                of_made = max(0, made - start)
                losses = torch.cat([self._fake_loss(found[:of_made]), self._real_loss(found[of_made:])])
                losses.sum().backward(inputs=self._d_parameters)
            self._d_optimiser.add_part()
            logits.append(found.detach())
        self._hooks.disable_hooks()
        return torch.cat(logits)

    def _labels(self, rng: Rng) -> Tensor:
        return whole(rng, 0, max(1, self._categories), self._batch).to(self._device)

    def _generator_step(self, rng: Rng) -> Figures:
        labels = self._labels(rng)
        self.discriminator.requires_grad_(False)
        fake = self.generator(self.generator.draw(rng, labels.cpu()).to(self._device), labels)
        logits = self.discriminator(fake, labels).float()
        self.discriminator.requires_grad_(True)
        loss = self.settings.loss.generator(logits.detach(), logits)
        self._g_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        figures = {"loss_g": loss.detach(), "grad_norm_g": grad_norm(self._g_parameters)}
        self._g_optimiser.step()
        return figures

    def flops_per_image(self) -> float:
        """``G + 8 D`` for the discriminator's step (gradients of single pictures cost a weight gradient more), and
        ``3 G + 2 D`` for the generator's, divided by how rare it is."""
        latent = torch.zeros(1, self.generator.latent, device=self._device)
        label = torch.zeros(1, dtype=torch.int64, device=self._device)
        self.generator.eval()
        g, picture = forward_flops(self.generator, latent, label)
        self.generator.train()
        d, _ = forward_flops(self.discriminator, picture, label)
        return g + 8.0 * d + (3.0 * g + 2.0 * d) / self.pace.every


def hooked(discriminator: nn.Module) -> Any:
    """Opacus' hooks on a discriminator, which fill ``parameter.grad_sample``; switched off.

    Raises:
        ConfigError: Opacus is missing, or the network has layers that couple pictures.
    """
    require_opacus()
    from opacus import GradSampleModule

    class ContiguousGradSampleModule(GradSampleModule):
        """Opacus 1.6 reads the memory of a convolution's input as if it were laid out row by row. Channels-last inputs
        give wrong gradients without a word; a copy in the usual layout gives the right ones."""

        def capture_activations_hook(self, module: nn.Module, forward_input: Any, _forward_output: Tensor) -> None:
            usual = [given.contiguous() for given in forward_input]
            super().capture_activations_hook(module, usual, _forward_output)

    try:
        hooks = ContiguousGradSampleModule(discriminator, loss_reduction="sum")
    except NotImplementedError as error:  # layers with statistics of the batch
        raise ConfigError(f"--dp-epsilon: Opacus can't tell the pictures' gradients apart here: {error}") from None
    hooks.disable_hooks()
    return hooks


def secret_noise_optimiser(inner: torch.optim.Optimizer, *, noise: float, clip: float, expected: int) -> Any:
    """Opacus' optimiser around ``inner``, its noise drawn from a secret; ``expected`` divides the sum."""
    require_opacus()
    from opacus.optimizers import DPOptimizer

    class SecretNoiseOptimizer(DPOptimizer):
        """Clipping and scaling are Opacus'; only the source of the noise differs."""

        def add_part(self) -> None:
            """Clip and add the gradients that the hooks left, and forget them."""
            self.clip_and_accumulate()
            for parameter in self.params:
                parameter.grad_sample = None

        def take_step(self, secret: bytes, step: int) -> None:
            """Noise, mean, step. The same (secret, step) gives the same noise."""
            self.secret, self.number = secret, step
            self.add_noise()
            for parameter in self.params:
                parameter.grad /= self.expected_batch_size
            self.original_optimizer.step()

        def add_noise(self) -> None:
            count = sum(p.numel() for p in self.params)
            drawn = torch.from_numpy(normals(self.secret, "noise", self.number, count))
            at = 0
            for p in self.params:
                mine = drawn[at : at + p.numel()].view(p.shape)
                at += p.numel()
                scaled = (self.noise_multiplier * self.max_grad_norm * mine).to(p.dtype).to(p.device)
                p.grad = torch.empty_like(p).copy_(p.summed_grad + scaled)

    return SecretNoiseOptimizer(
        inner, noise_multiplier=noise, max_grad_norm=clip, expected_batch_size=expected, loss_reduction="mean"
    )


def check_apart(discriminator: nn.Module, generator: nn.Module, device: torch.device) -> None:
    """See to it that each logit depends on its own picture only.

    Raises:
        ConfigError: pictures of a batch influence each other (batch norm, minibatch statistics, packing).
    """
    latents = torch.randn(3, generator.latent, generator=torch.Generator().manual_seed(0)).to(device)  # type: ignore[call-overload]
    labels = torch.zeros(3, dtype=torch.int64, device=device)
    was = generator.training
    with torch.no_grad():
        pictures = generator.eval()(latents, labels).float()
    generator.train(was)
    pictures.requires_grad_()
    logits = discriminator(pictures, labels)
    gradient = torch.zeros_like(pictures)
    if logits.shape == (3,):
        (gradient,) = torch.autograd.grad(logits[0], pictures)
    if logits.shape != (3,) or bool(gradient[1:].abs().max() > 0):
        raise ConfigError(
            "--dp-epsilon: this discriminator looks at the pictures of a batch together (batch norm, minibatch "
            "statistics or packed pictures), so one product's share in a step has no bound. Use --architecture modern "
            "or dcgan as they are."
        )
