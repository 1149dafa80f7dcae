"""Augmentation as strong as the photos need: its strength follows how far the discriminator has learned them by heart.

Some photos are held out: neither player is ever trained on them. If the discriminator judges them like those that it
was trained on, it has learned what photos look like; if it takes them for made ones, it has learned its photos by
heart, and augmentation has to get stronger. The measure is r_v of Karras et al. 2020 (ADA),

    r_v = (E D(trained on) - E D(held out)) / (E D(trained on) - E D(made)),

0 for no overfitting, 1 for complete; it doesn't change when a constant is added to D, as the pairing loss needs. The
strength moves in small steps towards the one that keeps r_v at :data:`TARGET`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .augment import Augment
from .data import Pictures
from .seeding import derive, generator

if TYPE_CHECKING:
    from .families.adversarial import AdversarialLearner

TARGET = 0.5
EVERY = 8
"""Steps between two looks."""
LOOK_AT = 32
"""Pictures of each kind at a look."""
KEEP = 0.9
"""Share of the averages that a look leaves."""
STRONGEST = 0.8
"""Above this the changes begin to leak into what is made (Karras et al. 2020, figure 4)."""
IMAGES_PER_UNIT = 50_000
"""Pictures in which the strength may go from 0 to 1."""


class Steering:
    """Looks at the discriminator now and then and sets ``augment.probability``.

    What it does is a function of the networks, the seed and the step, so that all processes of a run do the same.
    """

    def __init__(self, augment: Augment, pictures: Pictures, *, seed: int, batch: int, begin_at: float) -> None:
        self.augment = augment
        augment.probability = min(augment.probability, STRONGEST)
        self._pictures = pictures
        self._seed = seed
        self._batch = batch
        self._begin_at = begin_at
        """Pictures seen before which the discriminator has nothing to tell."""
        self._means: list[float] | None = None
        """Averages of D: photos trained on, held out, made pictures."""

    @property
    def overfit(self) -> float | None:
        """r_v by the averages; None before the first look, and while photos and made pictures look alike."""
        if self._means is None:
            return None
        trained, held_out, made = self._means
        return (trained - held_out) / (trained - made) if trained - made > 1e-6 else None

    def before_step(self, learner: AdversarialLearner, step: int, images_seen: int) -> None:
        """Look, when it is time to."""
        if step % EVERY or images_seen < self._begin_at:
            return
        found = self._look(learner, step)
        before = found if self._means is None else self._means
        self._means = [KEEP * old + (1.0 - KEEP) * new for old, new in zip(before, found, strict=True)]
        overfit = self.overfit
        if overfit is None:
            return
        direction = 1.0 if overfit > TARGET else -1.0
        strength = self.augment.probability + direction * EVERY * self._batch / IMAGES_PER_UNIT
        self.augment.probability = min(STRONGEST, max(0.0, strength))

    @torch.no_grad()
    def _look(self, learner: AdversarialLearner, step: int) -> list[float]:
        rng = generator(self._seed, "look", step)
        picked = np.random.default_rng(derive(self._seed, "look", step))
        device = next(learner.discriminator.parameters()).device
        means: list[float] = []
        labels = torch.zeros(0)
        for indices in (self._pictures.trained_on, self._pictures.held_out):
            some = picked.choice(indices, min(LOOK_AT, len(indices)), replace=False)
            photos = torch.from_numpy(self._pictures.images[some]).to(device).float().div_(127.5).sub_(1.0)
            labels = torch.from_numpy(self._pictures.labels[some]).to(device)
            means.append(self._judge(learner, photos, labels, rng))
        # Made pictures of the held-out photos' categories: like is compared with like.
        training = learner.generator.training
        learner.generator.eval()  # batch norm must not learn from a look
        made = learner.generator(learner.generator.draw(rng, labels.cpu()).to(device), labels)
        learner.generator.train(training)
        return [*means, self._judge(learner, made, labels, rng)]

    def _judge(self, learner: AdversarialLearner, pictures: Tensor, labels: Tensor, rng: torch.Generator) -> float:
        """Mean of D over pictures, changed as strongly as those that it is trained on."""
        return float(learner.discriminator(self.augment(pictures.float(), rng), labels).float().mean())

    def figures(self) -> dict[str, Tensor]:
        """For the tick: strength, and r_v once there is one."""
        found = {"augment": torch.tensor(self.augment.probability)}
        if self.overfit is not None:
            found["overfit_d"] = torch.tensor(self.overfit)
        return found

    def state(self) -> dict[str, Any]:
        """Plain values to go on with."""
        return {"strength": self.augment.probability, "means": self._means}

    def load_state(self, values: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.augment.probability = float(values["strength"])
        self._means = values["means"]
