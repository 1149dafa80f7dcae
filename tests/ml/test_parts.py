"""A batch in parts, or dealt out to processes, is the same batch: numbers, gradients, figures; and memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopgen_django.ml.data import Pictures, load_pictures, open_source
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import Batch, Figures
from shopgen_django.ml.feed import Feed
from shopgen_django.ml.loop import train
from shopgen_django.ml.networks import grad_norm
from shopgen_django.ml.processes import Processes
from shopgen_django.ml.recipe import Recipe, make_recipe
from shopgen_django.ml.run import make_learner
from shopgen_django.ml.runtime import thread_count
from shopgen_django.ml.seeding import PartRng, generator, normal, part_of, uniform, whole
from tests.ml.photos import make_folder, tiny

BATCH = 10
CLOSE = 1e-5
GAMES: list[dict[str, Any]] = [
    {"architecture": "modern", "loss": "rp", "gamma": 3.0, "warm_images": 8},
    {"architecture": "modern", "loss": "wgan-gp", "warm_images": 0, "n_critic": 1},
    {"architecture": "modern", "loss": "hinge", "gamma": 0.0, "warm_images": 0},
    {"architecture": "vae", "loss": "elbo", "free_bits": 0.05, "kl_warmup": 30},
    {"architecture": "denoiser", "loss": "charbonnier", "adversarial": 0.01},
]

Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def _recipe(source: Path, folder: Path, values: dict[str, Any]) -> tuple[Recipe, Pictures]:
    config = tiny(source, folder, batch_size=BATCH, augment="fixed", **values)
    opened = open_source(config)
    pictures = load_pictures(opened, config, folder)
    return make_recipe(config, opened, len(pictures.images)), pictures


def _gradients(recipe: Recipe, pictures: Pictures, processes: Processes, micro: int) -> tuple[Gradients, Figures]:
    """Gradients of all players and the figures of one process' part of step 2, which moves nothing."""
    learner = make_learner(recipe, pictures)
    learner.micro_batch = micro
    found: Gradients = {}

    def update(optimiser: Any, parameters: Any, figures: Figures, *, norm: str) -> Figures:
        for index, parameter in enumerate(parameters):
            found[f"{norm}/{index}"] = parameter.grad.clone()
        return {**figures, norm: grad_norm(parameters)}

    learner._update = update  # type: ignore[method-assign]
    feed = Feed(pictures, recipe.config, recipe.facts, recipe.device, processes)
    figures = learner.step(feed.batch(2))
    return found, dict(figures)


def _distance(one: Gradients, other: Gradients) -> float:
    assert one.keys() == other.keys()
    whole_norm = {n: max(float(g.norm()) for k, g in one.items() if k.startswith(n.split("/")[0])) for n in one}
    return max(float((one[n] - other[n]).norm()) / whole_norm[n] for n in one)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game['loss']}")
@pytest.mark.parametrize(("count", "micro"), [(1, 4), (1, 1), (2, 0), (3, 2)])
def test_gradients_do_not_depend_on_how_a_batch_is_dealt_out(
    game: dict[str, Any], count: int, micro: int, source: Path, folder: Path
) -> None:
    """Parts of one process and rows of several add up to the whole, penalties and pairs included."""
    recipe, pictures = _recipe(source, folder, game)
    expected, figures = _gradients(recipe, pictures, Processes(), 0)
    assert len(expected) > 20
    total: Gradients = {}
    summed: dict[str, float] = {}
    for rank in range(count):
        part, part_figures = _gradients(recipe, pictures, Processes(rank, count), micro)
        for name, gradient in part.items():
            total[name] = total[name] + gradient if name in total else gradient
        for name, value in part_figures.items():
            summed[name] = summed.get(name, 0.0) + float(value)
    assert _distance(expected, total) < CLOSE
    for name, value in figures.items():
        if not name.startswith("grad_norm"):
            assert summed[name] == pytest.approx(float(value), rel=CLOSE, abs=1e-6), name


def test_a_part_given_the_wrong_share_would_be_noticed(source: Path, folder: Path) -> None:
    """The comparison above is sharp enough: half of the rows alone are far from the whole."""
    recipe, pictures = _recipe(source, folder, GAMES[0])
    expected, _figures = _gradients(recipe, pictures, Processes(), 0)
    half, _figures = _gradients(recipe, pictures, Processes(0, 2), 0)
    assert _distance(expected, half) > 0.1


@pytest.mark.parametrize("draw", [uniform, normal, lambda rng, n, *shape: whole(rng, 0, 1000, n, *shape)])
def test_rows_of_parts_are_the_rows_of_the_whole(draw: Callable[..., torch.Tensor]) -> None:
    def stream(rng: Any, n: int) -> list[torch.Tensor]:
        return [draw(rng, n), draw(rng, 2 * n, 3), draw(rng, n, 2)]

    expected = stream(generator(5, "test"), 7)
    root = generator(5, "test")
    parts = [(0, 3), (3, 4), (4, 7)]
    made = [stream(part_of(root, *rows, 7), rows[1] - rows[0]) for rows in parts]
    assert torch.equal(torch.cat([m[0] for m in made]), expected[0])
    assert torch.equal(torch.cat([m[2] for m in made]), expected[2])
    doubled = expected[1].view(2, 7, 3)
    for (start, stop), m in zip(parts, made, strict=True):
        assert torch.equal(m[1], doubled[:, start:stop].reshape(-1, 3))
    nested = part_of(part_of(root, 2, 6, 7), 1, 3, 4)
    assert torch.equal(draw(nested, 2), expected[0][3:5])


def test_drawing_past_the_functions_is_an_error_in_parts() -> None:
    part = part_of(generator(0, "test"), 0, 2, 4)
    with pytest.raises(TypeError):
        torch.rand(2, generator=part)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="multiple"):
        uniform(part, 3)


def test_parts_leave_the_numbers_where_the_whole_would(source: Path, folder: Path) -> None:
    recipe, pictures = _recipe(source, folder, GAMES[0])
    feed = Feed(pictures, recipe.config, recipe.facts, recipe.device)
    one, other = feed.batch(0), feed.batch(0)
    uniform(one.rng, BATCH, 2)
    for part in other.parts(3):
        assert isinstance(part.rng, PartRng)
        assert uniform(part.rng, len(part.real), 2).shape == (len(part.real), 2)
    assert torch.equal(normal(one.rng, BATCH), normal(other.rng, BATCH))
    assert sum(part.share for part in other.parts(3)) == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_processes_share_an_epoch_without_doubles(count: int, source: Path, folder: Path) -> None:
    recipe, pictures = _recipe(source, folder, {**GAMES[0], "flip": False})
    feeds = [Feed(pictures, recipe.config, recipe.facts, recipe.device, Processes(r, count)) for r in range(count)]
    steps = 6  # five epochs of twelve pictures
    shown = torch.cat([feed.batch(step).real for step in range(steps) for feed in feeds])
    known = torch.from_numpy(pictures.images).float().div(127.5).sub(1.0)
    nearest = torch.cdist(shown.flatten(1), known.flatten(1)).argmin(dim=1).numpy()
    assert np.bincount(nearest, minlength=12).tolist() == [5] * 12
    alone = Feed(pictures, recipe.config, recipe.facts, recipe.device)
    assert torch.equal(shown, torch.cat([alone.batch(step).real for step in range(steps)]))


class _NoRoom:
    """Stands in for a network's loss that only fits with few pictures."""

    def __init__(self, learner: AdversarialLearner, room: int, error: Exception) -> None:
        self._loss, self.room, self.error = learner._discriminator_loss, room, error
        self.tried: list[int] = []

    def __call__(self, part: Batch) -> tuple[torch.Tensor, Figures]:
        self.tried.append(len(part.real))
        value = self._loss(part)  # numbers are drawn before memory runs out
        if len(part.real) > self.room:
            raise self.error
        return value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_parts_and_gives_the_same_step(error: Exception, source: Path, folder: Path) -> None:
    recipe, pictures = _recipe(source, folder, {**GAMES[0], "warm_images": 0})
    feed = Feed(pictures, recipe.config, recipe.facts, recipe.device)
    said: list[str] = []
    stepped = []
    for room in (BATCH, 3):
        learner = make_learner(recipe, pictures)
        assert isinstance(learner, AdversarialLearner)
        learner.say = said.append
        small = _NoRoom(learner, room, error)
        learner._discriminator_loss = small  # type: ignore[method-assign]
        figures = learner.step(feed.batch(0))
        stepped.append((figures, learner.micro_batch, small.tried))
    assert stepped[0][1:] == (0, [10])
    assert stepped[1][1:] == (3, [10, 5, 3, 3, 3, 1])
    assert said == [
        "Out of memory with 10 pictures at once: going on with parts of 5.",
        "Out of memory with 5 pictures at once: going on with parts of 3.",
    ]
    for name, value in stepped[0][0].items():
        assert float(stepped[1][0][name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def test_out_of_memory_is_said_in_the_log_and_the_run_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AdversarialLearner._generator_loss

    def loss(self: AdversarialLearner, part: Batch) -> tuple[torch.Tensor, Figures]:
        if len(part.real) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, part)

    monkeypatch.setattr(AdversarialLearner, "_generator_loss", loss)
    notes: list[str] = []
    result = train(tiny(source, tmp_path / "run", warm_images=0), on_note=notes.append)
    assert (result.outcome, result.images_seen) == ("finished", 40)
    assert notes == ["Out of memory with 4 pictures at once: going on with parts of 2."]


def test_threads_are_shared_between_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopgen_django.ml.runtime.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [thread_count(None, n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [thread_count(None, 2), thread_count(6, 2)] == [2, 3]
