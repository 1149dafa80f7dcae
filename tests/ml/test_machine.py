"""The machine: memory layout, bf16, compiled networks, choice of device, and going back when numbers run away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shopgen_django.ml import run as run_module
from shopgen_django.ml import runtime
from shopgen_django.ml.data import Pictures, load_pictures, open_source
from shopgen_django.ml.errors import ConfigError, Diverged
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.feed import Feed
from shopgen_django.ml.folder import RunFolder
from shopgen_django.ml.loop import RunInfo, train
from shopgen_django.ml.losses import gradient_penalties
from shopgen_django.ml.monitors import Advice, Monitor
from shopgen_django.ml.recipe import Recipe, make_recipe
from shopgen_django.ml.run import Run, make_learner
from tests.ml.photos import make_folder, tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def _recipe(source: Path, folder: Path, **values: Any) -> tuple[Recipe, Pictures]:
    config = tiny(source, folder, **{"augment": "fixed", "warm_images": 0, "init": "scratch", **values})
    opened = open_source(config)
    pictures = load_pictures(opened, config, folder)
    return make_recipe(config, opened, len(pictures.images)), pictures


def _losses(recipe: Recipe, pictures: Pictures, steps: int) -> tuple[list[dict[str, float]], AdversarialLearner]:
    learner = make_learner(recipe, pictures)
    assert isinstance(learner, AdversarialLearner)
    if recipe.config.compile == "on":
        learner.compiled = learner.compile_networks("aot_eager")
    feed = Feed(pictures, recipe.config, recipe.facts, recipe.device)
    lines = [{n: float(v) for n, v in learner.step(feed.batch(step)).items()} for step in range(steps)]
    return lines, learner


# -- memory layout -----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["modern", "dcgan"])
def test_channels_last_changes_the_layout_and_not_the_numbers(architecture: str, source: Path, folder: Path) -> None:
    recipe, pictures = _recipe(source, folder, architecture=architecture, size=32, width=8)
    learner = make_learner(recipe, pictures)
    assert isinstance(learner, AdversarialLearner)
    batch = Feed(pictures, recipe.config, recipe.facts, recipe.device).batch(0)
    latents = learner.generator.draw(batch.rng, batch.labels)
    convolutions = [m for m in learner.generator.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    wide = [c for c in convolutions if c.weight.shape[2] > 1 and c.weight.shape[1] > 1]
    assert wide
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in wide)
    made = []
    for layout in (torch.channels_last, torch.contiguous_format):
        learner.generator.to(memory_format=layout)  # type: ignore[call-overload]
        learner.discriminator.to(memory_format=layout)  # type: ignore[call-overload]
        picture = learner.generator(latents, batch.labels)
        logits = learner.discriminator(batch.real.contiguous(memory_format=layout), batch.labels)
        made.append((picture.detach(), logits.detach()))
    for one, other in zip(*made, strict=True):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, float(one.abs().max()))


# -- bf16 --------------------------------------------------------------------------------------


def test_bf16_follows_fp32_and_stays_finite(source: Path, folder: Path) -> None:
    """Two hundred steps: no NaN, and the discriminator's loss within 5 % of fp32's, averaged over twenty steps."""
    curves = []
    for precision in ("fp32", "bf16"):
        recipe, pictures = _recipe(source, folder, precision=precision, lr=2e-4)
        lines, learner = _losses(recipe, pictures, 200)
        assert all(torch.isfinite(p).all() for m in learner.modules().values() for p in m.parameters())
        assert all(p.dtype == torch.float32 for m in learner.modules().values() for p in m.parameters())
        loss = torch.tensor([line["loss_d"] for line in lines])
        assert torch.isfinite(loss).all()
        curves.append(loss.view(-1, 20).mean(dim=1))
    apart = ((curves[0] - curves[1]).abs() / curves[0]).max()
    assert apart < 0.05
    assert not torch.equal(*curves)  # it was another precision


def test_penalties_are_summed_in_fp32_under_autocast() -> None:
    pictures = torch.randn(4, 3, 8, 8, requires_grad=True)
    weight = torch.randn(3 * 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = pictures.flatten(1).float() @ weight
        (penalty,) = gradient_penalties(logits, pictures)
    assert penalty.dtype == torch.float32
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(float(weight.detach().square().sum()), rel=0.02)
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


# -- compiled ----------------------------------------------------------------------------------


def test_compiled_networks_take_the_same_steps(source: Path, folder: Path) -> None:
    eager, _learner = _losses(*_recipe(source, folder, compile="off"), 5)
    compiled, learner = _losses(*_recipe(source, folder, compile="on"), 5)
    assert isinstance(learner._make, torch._dynamo.eval_frame.OptimizedModule)
    for one, other in zip(eager, compiled, strict=True):
        assert other["loss_d"] == pytest.approx(one["loss_d"], rel=1e-3)
        assert other["loss_g"] == pytest.approx(one["loss_g"], rel=1e-3)


@pytest.mark.parametrize(
    ("values", "told"),
    [({"loss": "rp"}, "but for the discriminator's penalties"), ({"loss": "ns", "gamma": 0.0}, "both networks.")],
)
def test_what_is_not_compiled_is_said(values: dict[str, Any], told: str, source: Path, folder: Path) -> None:
    assert told in make_learner(*_recipe(source, folder, **values)).compile_networks("aot_eager")


def test_compile_is_off_unless_asked_for_and_a_machine_that_cannot_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [runtime.choose_compile(name) for name in ("auto", "off", "on")] == [False, False, True]
    monkeypatch.setattr(run_module, "COMPILER", "there is no such compiler")
    with pytest.raises(ConfigError, match="--compile on: PyTorch can't compile on this machine"):
        train(tiny(source, tmp_path / "run", compile="on"))


# -- device ------------------------------------------------------------------------------------


def test_devices_are_chosen_in_order_and_a_missing_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(*kinds: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)

    there()
    assert runtime.choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="--device mps: PyTorch sees no Apple GPU"):
        runtime.choose_device("mps")
    there("mps")
    assert runtime.choose_device("auto").type == "mps"
    assert runtime.choose_precision("auto", torch.device("mps")) == "fp32"
    with pytest.raises(ConfigError, match="--device cuda: PyTorch sees no CUDA GPU"):
        runtime.choose_device("cuda")
    there("mps", "cuda")
    assert runtime.choose_device("auto").type == "cuda"
    assert runtime.choose_device("cpu").type == "cpu"


def test_the_log_says_what_a_run_computes_on(source: Path, tmp_path: Path) -> None:
    infos: list[RunInfo] = []
    notes: list[str] = []
    config = tiny(source, tmp_path / "run", architecture="dcgan", micro_batch=2, images_seen=4, precision="bf16")
    train(config, on_start=infos.append, on_note=notes.append)
    assert infos[0].machine == "cpu with 1 thread (bf16, channels last)"
    assert any("batch norm" in note for note in notes)


# -- going back --------------------------------------------------------------------------------


def _poison(monkeypatch: pytest.MonkeyPatch, at: int, times: int) -> None:
    left = [times]
    real = Feed.batch

    def batch(self: Feed, step: int) -> Any:
        made = real(self, step)
        if step == at and left[0]:
            left[0] -= 1
            made.real.fill_(float("nan"))
        return made

    monkeypatch.setattr(Feed, "batch", batch)


@pytest.mark.parametrize(("snapshot_seconds", "back_to"), [(0.0, 24), (3600.0, 0)])
def test_a_run_that_diverges_goes_on_from_the_last_good_state_more_slowly(
    snapshot_seconds: float, back_to: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last snapshot, or anew where there is none yet; and it is remembered."""
    _poison(monkeypatch, at=6, times=1)
    notes: list[str] = []
    config = tiny(source, tmp_path / "run", snapshot_seconds=snapshot_seconds, tick_seconds=0.0)
    result = train(config, on_note=notes.append)
    assert (result.outcome, result.images_seen) == ("finished", 40)
    told = [note for note in notes if "learning rate" in note]
    assert len(told) == 1
    assert f"of {back_to} pictures, with the learning rate times 0.5" in told[0]
    state = RunFolder(tmp_path / "run").load_state()
    assert state is not None
    assert state.values["rollbacks"] == 1
    assert result.latest["rollbacks"] == 1.0
    seen = [line["images_seen"] for line in RunFolder(tmp_path / "run").read_stats()]
    assert seen == sorted(set(seen))


def test_the_learning_rate_stays_low_when_the_run_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = AdversarialLearner._generator_step

    def step(self: AdversarialLearner, batch: Any) -> Any:
        rates.append(self.optimisers()["generator"].param_groups[0]["lr"])
        return real(self, batch)

    monkeypatch.setattr(AdversarialLearner, "_generator_step", step)
    with monkeypatch.context() as poisoned:
        _poison(poisoned, at=6, times=2)
        config = tiny(source, tmp_path / "run", snapshot_seconds=0.0, lr=1e-3, warm_images=0)
        train(config)
    assert rates[5:9] == [1e-3, 1e-3, 5e-4, 2.5e-4]  # the poisoned step is tried three times
    train(replace(config, images_seen=48))
    assert rates[-2:] == [2.5e-4] * 2


def test_it_gives_up_when_going_back_does_not_help(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, at=6, times=100)
    notes: list[str] = []
    with pytest.raises(Diverged, match="step 6"):
        train(tiny(source, tmp_path / "run", snapshot_seconds=0.0), on_note=notes.append)
    assert sum("learning rate times" in note for note in notes) == 2


class _Judge(Monitor):
    """Calls the state of 12 pictures the best and wants it back at 24, as often as it is asked."""

    name = "judge"

    def __init__(self, times: int) -> None:
        self.left = times

    def on_snapshot(self, run: Run) -> Advice:
        if run.images_seen == 24 and self.left:
            self.left -= 1
            return Advice(roll_back="The pictures have become worse.")
        return Advice(best=run.images_seen == 12, figures={"judged": float(run.images_seen)})


@pytest.mark.parametrize("times", [1, 3])
def test_a_monitor_has_the_best_state_put_back(
    times: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shopgen_django.ml.loop.make_monitors", lambda *given: [_Judge(times)])
    config = tiny(source, tmp_path / "run", snapshot_seconds=0.0, tick_seconds=0.0)
    notes: list[str] = []
    if times == 1:
        assert train(config, on_note=notes.append).images_seen == 40
        assert any("Going on from the best state, of 12 pictures" in note for note in notes)
        return
    with pytest.raises(Diverged, match="become worse"):
        train(config, on_note=notes.append)
    folder = RunFolder(tmp_path / "run")
    best = folder.load_state(best=True)
    assert best is not None
    assert best.values["images_seen"] == 12
    assert folder.path.joinpath("model.safetensors").read_bytes() == (
        folder.path.joinpath("model.best.safetensors").read_bytes()
    )
