"""How much slower the trainer's loop is than a bare PyTorch loop of the same networks.

    OMP_NUM_THREADS=2 python -m benchmarks.trainer_overhead --source example_project/data/clothing_cc0
    ... --architecture dcgan
    ... --clock cpu     # on a machine that has other work: processor time of this process instead of the wall's

Both run in one process, in turns of a few steps: what else the machine does hits both alike. The bare loop is written
out below the way one writes it in a notebook: pictures in one float tensor, two Adam optimisers, the same losses, the
same augmentation, in the modern family penalties and redrawing, no average, no figures, no ticks, no snapshots. The
trainer runs as users run it, with ticks, samples, snapshots and the average; everything counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shopgen_django.ml.train import set_thread_policy

set_thread_policy()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import softplus  # noqa: E402

from shopgen_django.ml.config import TrainConfig  # noqa: E402
from shopgen_django.ml.data import load_pictures, open_source  # noqa: E402
from shopgen_django.ml.families.adversarial import AdversarialLearner  # noqa: E402
from shopgen_django.ml.families.modern import REDRAW_WEIGHT, ModernLearner  # noqa: E402
from shopgen_django.ml.loop import train  # noqa: E402
from shopgen_django.ml.recipe import make_recipe  # noqa: E402
from shopgen_django.ml.runtime import thread_count  # noqa: E402
from shopgen_django.ml.warm import Describer  # noqa: E402

TURN = 5
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class BareLoop:
    """The same game without a trainer around it."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        source = open_source(config)
        pictures = load_pictures(source, config, folder)
        recipe = make_recipe(config, source, len(pictures.images))
        learner = recipe.family.create(recipe.config, recipe.facts, recipe.device, pictures)
        assert isinstance(learner, AdversarialLearner)
        self.config = recipe.config
        self.g, self.d = learner.generator, learner.discriminator
        self.describer = learner.describer if isinstance(learner, ModernLearner) else None
        self.augment = learner.settings.augment
        self.real = torch.from_numpy(pictures.images).float() / 127.5 - 1.0
        self.labels = torch.from_numpy(pictures.labels)
        lr, betas = learner.settings.lr, learner.settings.betas
        self.g_optimiser = torch.optim.Adam(self.g.parameters(), lr=lr, betas=betas, fused=True)
        self.d_optimiser = torch.optim.Adam(self.d.parameters(), lr=lr, betas=betas, fused=True)
        self.rng = torch.Generator().manual_seed(0)

    def batch(self) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(self.real), (self.config.batch_size or 1,), generator=self.rng)
        return self.real[chosen], self.labels[chosen]

    def step(self) -> None:
        if self.describer is None:
            self.classic_step()
        else:
            self.modern_step(self.describer)

    def classic_step(self) -> None:
        real, labels = self.batch()
        with torch.no_grad():
            fake = self.g(self.g.draw(self.rng, labels), labels)
        logits = self.d(self.augment(torch.cat([real, fake]), self.rng), torch.cat([labels, labels]))
        on_real, on_fake = logits.chunk(2)
        loss = softplus(-on_real).mean() + softplus(on_fake).mean()
        self.d_optimiser.zero_grad()
        loss.backward()
        self.d_optimiser.step()

        _real, labels = self.batch()
        fake = self.g(self.g.draw(self.rng, labels), labels)
        self.d.requires_grad_(False)
        loss = softplus(-self.d(self.augment(fake, self.rng), labels)).mean()
        self.d.requires_grad_(True)
        self.g_optimiser.zero_grad()
        loss.backward()
        self.g_optimiser.step()

    def modern_step(self, describer: Describer) -> None:
        real, labels = self.batch()
        with torch.no_grad():
            fake = self.g(self.g.draw(self.rng, labels), labels)
        real.requires_grad_()
        fake.requires_grad_()
        logits = self.d(self.augment(torch.cat([real, fake]), self.rng), torch.cat([labels, labels]))
        on_real, on_fake = logits.chunk(2)
        gradients = torch.autograd.grad(logits.sum(), (real, fake), create_graph=True)
        penalty = sum(g.square().sum(dim=(1, 2, 3)).mean() for g in gradients)
        loss = softplus(on_fake - on_real).mean() + 0.5 * (self.config.gamma or 0.0) * penalty
        self.d_optimiser.zero_grad()
        loss.backward(inputs=list(self.d.parameters()))
        self.d_optimiser.step()

        real, labels = self.batch()
        fake = self.g(self.g.draw(self.rng, labels), labels)
        self.d.requires_grad_(False)
        on_fake = self.d(self.augment(fake, self.rng), labels)
        with torch.no_grad():
            on_real = self.d(self.augment(real, self.rng), labels)
        self.d.requires_grad_(True)
        loss = softplus(on_real - on_fake).mean()
        described = describer(real, labels, torch.randn(len(real), self.g.latent, generator=self.rng))
        loss = loss + REDRAW_WEIGHT * (self.g(described, labels) - real).abs().mean()
        self.g_optimiser.zero_grad()
        loss.backward()
        self.g_optimiser.step()


class Turns:
    """The trainer's ``should_stop``: every few steps it notes the trainer's time and lets the bare loop take a turn."""

    def __init__(self, bare: BareLoop, seconds: float, clock: Callable[[], float]) -> None:
        self.bare, self.until, self._clock = bare, time.perf_counter() + seconds, clock
        self.trainer: list[float] = []
        self.plain: list[float] = []
        self._steps = 0
        self._began = 0.0

    def __call__(self) -> bool:
        now = self._clock()
        if self._steps == 0:
            for _ in range(3):
                self.bare.step()
        elif self._steps % TURN == 0:
            self.trainer.append(now - self._began)
            began = self._clock()
            for _ in range(TURN):
                self.bare.step()
            self.plain.append(self._clock() - began)
        self._steps += 1
        if self._steps % TURN == 1:
            self._began = self._clock()
        return time.perf_counter() >= self.until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--architecture", choices=("modern", "dcgan"), default="modern")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0, help="both loops together (default: %(default)s)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The clock of ticks and snapshots runs during the bare loop's turns too: twice the usual time between them is
        # the usual number of them for a step.
        config = TrainConfig(
            source=options.source, output=str(Path(folder) / "run"), size=options.size,
            architecture=options.architecture, warm_images=int(options.architecture == "modern"), augment="fixed",
            init="scratch",
            images_seen=10**9, tick_seconds=10.0, snapshot_seconds=60.0, device="cpu",
        )  # fmt: skip
        torch.set_num_threads(thread_count(None))
        bare_folder = Path(folder) / "bare"
        bare_folder.mkdir()
        turns = Turns(BareLoop(config, bare_folder), options.seconds, CLOCKS[options.clock])
        train(config, should_stop=turns)
    count = min(len(turns.trainer), len(turns.plain))
    trainer, plain = sum(turns.trainer[:count]), sum(turns.plain[:count])
    ratios = [a / b for a, b in zip(turns.trainer, turns.plain, strict=False)]
    print(
        json.dumps(
            {
                "architecture": options.architecture,
                "clock": options.clock,
                "threads": torch.get_num_threads(),
                "size": options.size,
                "steps_each": count * TURN,
                "trainer_ms_per_step": round(1000 * trainer / (count * TURN), 2),
                "bare_ms_per_step": round(1000 * plain / (count * TURN), 2),
                "slower_in_all": round(trainer / plain - 1.0, 4),
                "slower_median_turn": round(statistics.median(ratios) - 1.0, 4),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
