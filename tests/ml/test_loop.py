"""The run: resuming exactly, stopping, refusing, noticing when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shopgen_django.ml import loop
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import Collapsed, ConfigChanged, Diverged, OutOfMemory, RunLocked
from shopgen_django.ml.families import MODULES
from shopgen_django.ml.files import folder_lock
from shopgen_django.ml.folder import STATE, RunFolder
from tests.ml.photos import StopAfter, make_folder, tiny


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos")


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    state = RunFolder(folder).load_state()
    assert state is not None
    return state.tensors


def _assert_same(one: Path, other: Path) -> None:
    first, second = _tensors(one), _tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_run_leaves_everything_it_promises(source: Path, tmp_path: Path) -> None:
    ticks: list[loop.Tick] = []
    samples: list[Path] = []
    infos: list[loop.RunInfo] = []
    config = tiny(source, tmp_path / "run", tick_seconds=0.0, snapshot_seconds=0.0)
    result = loop.train(
        config,
        on_tick=ticks.append,
        on_sample=lambda path, images: samples.append(path),
        on_start=infos.append,
    )
    assert (result.outcome, result.images_seen) == ("finished", 40)
    assert infos[0].config.conditional is True
    assert infos[0].dataset["count"] == 12
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        "config.json", "dataset.json", "stats.jsonl", "curves.png", "reals.png", "samples", "model.safetensors",
        "model.json", "state.safetensors", "state.previous.safetensors", "state.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [tick.images_seen for tick in ticks] == list(range(4, 41, 4))
    assert {"loss_d", "loss_g", "r1", "r2", "grad_norm_d", "grad_norm_g", "accuracy_d", "images_per_second"} <= set(
        lines[-1]
    )
    sizes = set()
    for path in samples:
        with Image.open(path) as sheet:
            sizes.add(sheet.size)
    assert len(sizes) == 1
    settled = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert settled["loss"] == "rp"
    assert settled["gamma"] > 0


FAMILIES: tuple[dict[str, Any], ...] = (
    {"architecture": "modern"},
    {"architecture": "dcgan"},
    {"architecture": "dcgan", "unroll": 2},
    {"architecture": "dcgan", "loss": "wgan-gp", "n_critic": 3},
    {"architecture": "vae"},
    {"architecture": "denoiser", "adversarial": 0.01},
)


def test_every_family_is_among_those_that_are_stopped_and_killed() -> None:
    assert {values["architecture"] for values in FAMILIES} == set(MODULES)


@pytest.mark.parametrize(
    ("values", "stop_at"),
    [(values, at) for values in FAMILIES for at in ((1, 3, 6, 9) if values == {"architecture": "modern"} else (1, 6))],
)
def test_stopped_and_resumed_is_bit_for_bit_a_straight_run(
    values: dict[str, Any], stop_at: int, source: Path, tmp_path: Path
) -> None:
    straight = tiny(source, tmp_path / "straight", **values)
    loop.train(straight)
    config = replace(straight, output=str(tmp_path / "parts"))
    first = loop.train(config, should_stop=StopAfter(stop_at))
    assert (first.outcome, first.images_seen) == ("stopped", stop_at * 4)
    second = loop.train(config)
    assert (second.outcome, second.images_seen) == ("finished", 40)
    assert second.seconds > first.seconds  # the clock counts all parts
    _assert_same(tmp_path / "straight", tmp_path / "parts")


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        loop.train(tiny(source, tmp_path / name, seed=seed))
    _assert_same(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() != (tmp_path / "c" / "model.safetensors").read_bytes()


KILLED = """
import json, sys
from shopgen_django.ml.config import config_from_dict
from shopgen_django.ml.loop import train
config = config_from_dict(json.loads(sys.argv[1]))
train(config, on_tick=lambda tick: print(tick.images_seen, flush=True))
"""


def _start(config: TrainConfig) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(config.as_dict())], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("values", [FAMILIES[number] for number in (0, 2, 4, 5)])
def test_killed_by_the_system_and_resumed_is_bit_for_bit_a_straight_run(
    values: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    """SIGKILL at arbitrary moments of a run that saves after every step; for the default family several times over."""
    several = values == {"architecture": "modern"}
    end = 240 if several else 60
    straight = tiny(source, tmp_path / "straight", images_seen=end, **values)
    loop.train(straight)
    config = replace(straight, output=str(tmp_path / "killed"), tick_seconds=0.0, snapshot_seconds=0.0)
    positions = []
    for lines in (2, 9, 5) if several else (3,):
        with _start(config) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline()
            time.sleep(0.003 * lines)
            process.kill()
            process.wait()
        state = RunFolder(tmp_path / "killed").load_state()
        positions.append(0 if state is None else state.values["images_seen"])
    assert positions == sorted(positions)
    assert positions[-1] < end
    loop.train(replace(config, tick_seconds=3600.0, snapshot_seconds=3600.0))
    _assert_same(tmp_path / "straight", tmp_path / "killed")
    seen = [line["images_seen"] for line in RunFolder(tmp_path / "killed").read_stats()]
    assert seen == sorted(set(seen))


def test_a_run_killed_while_it_reads_the_photos_can_begin_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        raise Killed

    config = tiny(source, tmp_path / "run", images_seen=8)
    with pytest.raises(Killed):
        loop.train(config, on_decode=kill)
    assert loop.train(config).outcome == "finished"


def test_a_cut_off_state_costs_one_snapshot_and_nothing_else(source: Path, tmp_path: Path) -> None:
    straight = tiny(source, tmp_path / "straight")
    loop.train(straight)
    config = replace(straight, output=str(tmp_path / "cut"), snapshot_seconds=0.0)
    loop.train(config, should_stop=StopAfter(6))
    path = tmp_path / "cut" / STATE
    path.write_bytes(path.read_bytes()[:-100])
    infos: list[loop.RunInfo] = []
    loop.train(config, on_start=infos.append)
    assert infos[0].resumed_at == 20
    _assert_same(tmp_path / "straight", tmp_path / "cut")


def test_other_options_are_refused_and_named(source: Path, tmp_path: Path) -> None:
    config = tiny(source, tmp_path / "run", images_seen=8)
    loop.train(config)
    with pytest.raises(ConfigChanged, match=r"--batch-size: 4 -> 8.*--lr: 0\.001 -> 0\.01"):
        loop.train(replace(config, batch_size=8, lr=0.01))
    make_folder(source, 14)
    with pytest.raises(ConfigChanged, match="the pictures"):
        loop.train(config)
    assert loop.train(replace(config, lr=0.01), fresh=True).images_seen == 8


def test_a_longer_run_goes_on_and_a_reached_length_does_nothing(source: Path, tmp_path: Path) -> None:
    config = tiny(source, tmp_path / "run", images_seen=8)
    loop.train(config)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert loop.train(config).images_seen == 8
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert loop.train(replace(config, images_seen=16)).images_seen == 16


def test_minutes_count_over_all_parts(source: Path, tmp_path: Path) -> None:
    config = tiny(source, tmp_path / "run", images_seen=None, minutes=0.01)
    first = loop.train(config, should_stop=StopAfter(2))
    second = loop.train(config)
    assert first.outcome == "stopped"
    assert second.outcome == "finished"
    assert second.seconds >= 0.6
    assert loop.train(config).images_seen == second.images_seen


def test_a_second_run_in_the_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with folder_lock(tmp_path / "run"), pytest.raises(RunLocked):
        loop.train(tiny(source, tmp_path / "run"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_end_well(number: signal.Signals, source: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "shopgen_django.ml.train", "--source", str(source), "--output", str(tmp_path / "run"),
        "--size", "16", "--width", "4", "--latent", "8", "--batch-size", "4", "--threads", "1",
        "--tick-seconds", "0", "--images-seen", "1000000",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "pictures seen" in line:
                break
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Stopped and saved" in rest
    assert RunFolder(tmp_path / "run").load_state() is not None


def _poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    from shopgen_django.ml.feed import Feed

    real = Feed.batch

    def batch(self: Feed, step: int) -> Any:
        made = real(self, step)
        if step == at:
            made.real.fill_(float("nan"))
        return made

    monkeypatch.setattr(Feed, "batch", batch)


@pytest.mark.parametrize("at", [1, 7])
def test_not_a_number_stops_the_run_and_keeps_the_last_good_state(
    at: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(source, tmp_path / "run", snapshot_seconds=0.0)
    _poison(monkeypatch, at)
    with pytest.raises(Diverged, match=f"step {at}"):
        loop.train(config)
    tensors = _tensors(tmp_path / "run")
    assert all(torch.isfinite(t).all() for t in tensors.values())
    monkeypatch.undo()
    loop.train(config)
    loop.train(replace(config, output=str(tmp_path / "straight")))
    _assert_same(tmp_path / "straight", tmp_path / "run")


def test_a_weight_that_is_not_finite_is_never_saved(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml.ema import Ema

    real = Ema.update

    def update(self: Ema, module: Any, *, seen: int, batch: int) -> None:
        real(self, module, seen=seen, batch=batch)
        if seen == 24:
            next(self.module.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(Ema, "update", update)
    with pytest.raises(Diverged, match="The state of 20 pictures is kept"):
        loop.train(tiny(source, tmp_path / "run", snapshot_seconds=0.0))
    assert all(torch.isfinite(t).all() for t in _tensors(tmp_path / "run").values())


def test_a_generator_that_makes_one_picture_is_a_failure(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml.samples import SampleGrid

    monkeypatch.setattr(loop, "COLLAPSE_AFTER_IMAGES", 8)
    monkeypatch.setattr(SampleGrid, "draw", lambda self, network: (b"", 0.0))
    with pytest.raises(Collapsed, match="same picture"):
        loop.train(tiny(source, tmp_path / "run"))
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_too_little_memory_says_what_to_try(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.ml.families.modern import ModernLearner

    def step(self: ModernLearner, batch: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ModernLearner, "step", step)
    with pytest.raises(OutOfMemory, match="smaller --width"):
        loop.train(tiny(source, tmp_path / "run"))


def test_training_from_a_daemonic_process_starts_no_processes(source: Path, tmp_path: Path) -> None:
    """Queue workers are daemonic and may not have children: loading must not need any."""
    code = (
        "import multiprocessing as m, sys, json\n"
        "from shopgen_django.ml.config import config_from_dict\n"
        "def work(text):\n"
        "    from shopgen_django.ml.loop import train\n"
        "    train(config_from_dict(json.loads(text)))\n"
        "if __name__ == '__main__':\n"
        "    p = m.get_context('fork').Process(target=work, args=(sys.argv[1],), daemon=True)\n"
        "    p.start(); p.join(); sys.exit(p.exitcode)\n"
    )
    config = tiny(source, tmp_path / "run", images_seen=8)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config.as_dict())],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "run" / "model.safetensors").exists()
