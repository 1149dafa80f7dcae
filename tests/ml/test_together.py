"""Two real processes (gloo): the same run as one, one checkpoint, clean stops, plain reasons, another number later."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shopgen_django.ml import launch
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import ConfigError, ProcessLost
from shopgen_django.ml.events import Tick
from shopgen_django.ml.folder import RunFolder
from shopgen_django.ml.launch import _Crew
from shopgen_django.ml.loop import train
from tests.ml.photos import make_folder, tiny

LENGTH = 200
CLOSE = 1e-4
"""After twenty steps, of which each adds its rounding; a single step is compared to 1e-5 in test_parts."""
# Not the level of the logits: a pairing loss leaves it to the last bits of a gradient that should be zero.
COMPARED = ("loss_d", "loss_g", "r1", "r2", "grad_norm_d", "grad_norm_g", "redraw")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


def _config(source: Path, output: Path, **values: Any) -> TrainConfig:
    settings: dict[str, Any] = {"images_seen": LENGTH, "batch_size": 5, "augment": "fixed", "tick_seconds": 0.0}
    return tiny(source, output, **{**settings, **values})


@pytest.fixture(scope="module")
def pair(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run in one process, and in two up to the middle, then in one again."""
    base = tmp_path_factory.mktemp("runs")
    train(_config(source, base / "one"))
    train(_config(source, base / "two", processes=2, images_seen=LENGTH // 2, snapshot_seconds=0.5))
    return base / "one", base / "two"


def test_two_processes_take_the_same_steps_as_one(pair: tuple[Path, Path]) -> None:
    """Losses, penalties and the norms of all gradients, step by step; batches of five leave one more row to one."""
    one, two = (RunFolder(folder).read_stats() for folder in pair)
    assert [line["images_seen"] for line in two] == list(range(5, LENGTH // 2 + 1, 5))
    compared = 0
    for alone, together in zip(one, two, strict=False):
        for name in COMPARED:
            if name in alone:
                compared += 1
                assert together[name] == pytest.approx(alone[name], rel=CLOSE, abs=1e-6), (name, alone["step"])
    assert compared > 80


def test_only_one_process_writes(pair: tuple[Path, Path]) -> None:
    one, two = ({p.name for p in folder.iterdir()} - {"state.previous.safetensors"} for folder in pair)
    assert one == two


def test_a_run_goes_on_with_another_number_of_processes(pair: tuple[Path, Path], source: Path, tmp_path: Path) -> None:
    """Two, then one: the figures are those of one process all along."""
    one, two = pair
    result = train(_config(source, two))
    assert (result.outcome, result.images_seen) == ("finished", LENGTH)
    alone, gone_on = RunFolder(one).read_stats(), RunFolder(two).read_stats()
    assert [line["step"] for line in gone_on] == [line["step"] for line in alone]
    assert gone_on[-1]["loss_d"] == pytest.approx(alone[-1]["loss_d"], rel=1e-3)
    assert RunFolder(two).load_state() is not None


@contextlib.contextmanager
def _crews(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Crew]]:
    made: list[_Crew] = []

    class Seen(_Crew):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(launch, "_Crew", Seen)
    yield made


def test_a_killed_process_ends_the_run_with_a_reason(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _crews(monkeypatch) as crews:

        def tick(now: Tick) -> None:
            if now.step == 6:
                crews[0]._children[0].kill()

        config = _config(source, tmp_path / "run", processes=2, images_seen=10**6, snapshot_seconds=0.0)
        with pytest.raises(ProcessLost, match=r"Process 1 of 2 was ended by SIGKILL.*run the same command again"):
            train(config, on_tick=tick)
    state = RunFolder(tmp_path / "run").load_state()
    assert state is not None
    assert state.values["step"] >= 5
    assert not torch.distributed.is_initialized()
    assert all(child.returncode is not None for child in crews[0]._children)


def test_an_error_of_another_process_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that finds other photos than process 0 says so, and process 0 repeats it."""
    real = _Crew.wait_until_there

    def late(self: _Crew) -> None:
        next(source.rglob("*.png")).rename(tmp_path / "taken.png")
        (tmp_path / "run" / "pictures.npy").unlink()
        real(self)

    monkeypatch.setattr(_Crew, "wait_until_there", late)
    try:
        with pytest.raises(ProcessLost, match="Process 1 of 2 stopped: Process 1 finds other pictures"):
            train(_config(source, tmp_path / "run", processes=2))
    finally:
        make_folder(source)


def test_torchrun_stops_cleanly_when_any_process_is_asked_to(source: Path, tmp_path: Path) -> None:
    """SIGTERM to process 1 alone: all of them save and end well; then one process goes on."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "shopgen_django.ml.train", "--source", str(source), "--output", str(tmp_path / "run"),
        "--size", "16", "--width", "4", "--latent", "8", "--batch-size", "4", "--threads", "1", "--device", "cpu",
        "--warm-images", "0", "--tick-seconds", "0", "--images-seen", "1000000",
    ]  # fmt: skip
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else dict(os.environ)
    told: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if "pictures seen" in line:
                break
        os.kill(_other_process(process.pid), signal.SIGTERM)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    text = "".join(told) + rest
    assert text.count("pictures at 16 px") == 1  # one process talks
    assert "2 processes" in text
    seen = re.search(r"Stopped and saved: (\d+) pictures seen", text)
    assert seen is not None
    state = RunFolder(tmp_path / "run").load_state()
    assert state is not None
    assert state.values["images_seen"] == int(seen[1])


def _other_process(launcher: int) -> int:
    """The process with RANK=1 among the launcher's children."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    for pid, parent in (map(int, line.split()) for line in listed.splitlines()):
        if parent == launcher and b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    raise AssertionError("torchrun has no process number 1")


def test_more_processes_than_pictures_of_a_batch_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="9 processes can't share batches of 5"):
        train(_config(source, tmp_path / "run", processes=9))


def test_networks_that_drift_apart_are_noticed() -> None:
    from shopgen_django.ml.together import _fingerprint

    one = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
    assert _fingerprint(one) == _fingerprint({"b": torch.ones(2, 2), "a": torch.arange(6.0)})
    other = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
    other["b"][0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert _fingerprint(one) != _fingerprint(other)
