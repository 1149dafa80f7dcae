"""A run at a moment: what the loop moves on and what monitors look at."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .config import SCRATCH, TrainConfig
from .data import Pictures
from .ema import Ema
from .families.adversarial import AdversarialLearner
from .families.base import Learner
from .feed import FeedLike, make_feed
from .folder import RunFolder
from .processes import ALONE, Processes
from .recipe import Recipe
from .runtime import check_compiler, choose_compile
from .transfer import begin

COMPILER = "inductor"


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything of a run that changes while it goes, and what it was made from.

    ``learner`` and ``ema`` are replaced when a run that went wrong before its first snapshot begins anew: ask for them
    each time.
    """

    recipe: Recipe
    pictures: Pictures
    folder: RunFolder
    learner: Learner
    ema: Ema
    feed: FeedLike
    processes: Processes = ALONE
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Training time over all resumed parts."""
    rollbacks: int = 0
    """How often an earlier state was put back; each time halves the learning rate."""

    @property
    def config(self) -> TrainConfig:
        """The options as run."""
        return self.recipe.config

    @property
    def batch(self) -> int:
        """Pictures of a step, in all processes together."""
        return self.config.batch_size or 1

    @property
    def images_seen(self) -> int:
        """Real pictures shown so far."""
        return self.step * self.batch

    @property
    def share(self) -> float:
        """Share of the wished length, from 0; above 1 once it is passed."""
        shares = [0.0]
        if self.config.images_seen:
            shares.append(self.images_seen / self.config.images_seen)
        if self.config.minutes:
            shares.append(self.seconds / (60.0 * self.config.minutes))
        return max(shares)

    def how_it_computes(self) -> list[str]:
        """What a person should know about the way this machine is used."""
        told = [self.learner.compiled] if self.learner.compiled else []
        parts = self.processes.count > 1 or 0 < self.learner.micro_batch < self.batch
        layers = (layer for module in self.learner.modules().values() for layer in module.modules())
        if parts and any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in layers):
            told.append(
                "This architecture has batch norm, whose figures are those of the pictures at hand: in several "
                "processes or in parts a step is not exactly that of one process with whole batches."
            )
        return told

    def make_networks(self) -> None:
        """Networks as they are before the first step, in place of those there are."""
        before = self.learner
        self.learner, self.ema = _networks(self.recipe, self.pictures, self.processes)
        self.learner.say, self.learner.micro_batch = before.say, before.micro_batch


def make_run(recipe: Recipe, pictures: Pictures, folder: RunFolder, processes: Processes = ALONE) -> Run:
    """A run before its first step."""
    learner, ema = _networks(recipe, pictures, processes)
    feed = make_feed(pictures, recipe.config, recipe.facts, recipe.device, processes)
    return Run(
        recipe=recipe, pictures=pictures, folder=folder, learner=learner, ema=ema, feed=feed, processes=processes
    )


def make_learner(recipe: Recipe, pictures: Pictures) -> Learner:
    """The networks that a recipe describes, and how they are trained."""
    if recipe.config.dp_epsilon is not None:
        from .privacy.session import private_learner

        return private_learner(recipe, pictures)
    learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, pictures)
    if recipe.config.init != SCRATCH:
        begin(learner, recipe.config, pictures)
    if len(pictures.held_out) and isinstance(learner, AdversarialLearner):
        learner.steer(pictures, recipe.config)
    return learner


def _networks(recipe: Recipe, pictures: Pictures, processes: Processes) -> tuple[Learner, Ema]:
    learner = make_learner(recipe, pictures)
    learner.processes = processes
    learner.micro_batch = recipe.config.micro_batch or 0
    if choose_compile(recipe.config.compile):
        check_compiler(COMPILER)
        learner.compiled = learner.compile_networks(COMPILER)
    return learner, Ema(learner.generator, float(recipe.config.ema_images or 1))
