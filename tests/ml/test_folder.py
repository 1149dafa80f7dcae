"""Files that are whole at any moment: atomic writes, fallback states, matching models, the lock."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from shopgen_django.ml import files
from shopgen_django.ml.errors import CheckpointError, ConfigError, RunLocked, StorageFull
from shopgen_django.ml.folder import CARD, PREVIOUS, STATE, WEIGHTS, RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.prepare()
    return made


def _save(folder: RunFolder, number: int) -> None:
    folder.save_state({"a": torch.full((50,), float(number))}, {"step": number})


def _loaded(folder: RunFolder) -> int:
    state = folder.load_state()
    assert state is not None
    assert (state.tensors["a"] == state.values["step"]).all()
    return int(state.values["step"])


def test_the_newest_state_is_loaded_and_the_one_before_is_kept(folder: RunFolder) -> None:
    assert folder.load_state() is None
    for number in (1, 2, 3):
        _save(folder, number)
        assert _loaded(folder) == number
    (folder.path / STATE).unlink()
    assert _loaded(folder) == 2


@pytest.mark.parametrize("place", [0, 7, 8, 40, 200, -1])
def test_a_changed_byte_falls_back_to_the_state_before(folder: RunFolder, place: int) -> None:
    _save(folder, 1)
    _save(folder, 2)
    data = bytearray((folder.path / STATE).read_bytes())
    data[place] ^= 1
    (folder.path / STATE).write_bytes(bytes(data))
    assert _loaded(folder) == 1


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_cut_off_file_falls_back_to_the_state_before(folder: RunFolder, kept: int) -> None:
    _save(folder, 1)
    _save(folder, 2)
    (folder.path / STATE).write_bytes((folder.path / STATE).read_bytes()[:kept])
    assert _loaded(folder) == 1


def test_without_a_whole_state_it_says_so(folder: RunFolder) -> None:
    _save(folder, 1)
    (folder.path / STATE).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="--fresh"):
        folder.load_state()


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_a_kill_between_any_two_file_operations_leaves_a_good_state(
    folder: RunFolder, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save is cut off at its n-th rename, sync or write; the state is then the new one or the one before."""
    _save(folder, 1)
    _save(folder, 2)
    calls = 0

    class Killed(BaseException):
        pass

    def guard(name: str, module: Any) -> None:
        real = getattr(module, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    for name in ("replace", "fsync"):
        guard(name, os)
    try:
        _save(folder, 3)
    except Killed:
        monkeypatch.undo()
        assert _loaded(folder) in (2, 3)
    else:
        monkeypatch.undo()
        assert calls < stop_at
        assert _loaded(folder) == 3
    _save(folder, 4)
    assert _loaded(folder) == 4


def test_a_full_disk_keeps_the_states_and_leaves_no_part(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(folder, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match=r"No room on the disk for state\.safetensors"):
        _save(folder, 2)
    monkeypatch.undo()
    assert _loaded(folder) == 1
    assert not list(folder.path.glob(".*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_is_really_full(folder: RunFolder) -> None:
    path = folder.path / "stats.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(StorageFull):
        folder.append_stats({"images_seen": 1})


def test_the_model_and_its_card_match_at_every_moment(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace
    seen: list[bool] = []

    def looking(source: Any, target: Any) -> None:
        real(source, target)
        if (folder.path / WEIGHTS).exists() and (folder.path / CARD).exists():
            card = json.loads((folder.path / CARD).read_text())
            here = files.sha256_file(folder.path / WEIGHTS)
            seen.append(here in (card["sha256"], card.get("next_sha256")))

    monkeypatch.setattr(os, "replace", looking)
    for number in range(3):
        folder.save_model({"w": torch.full((3,), float(number))}, {"size": 16})
    assert len(seen) >= 7
    assert all(seen)
    assert "next_sha256" not in json.loads((folder.path / CARD).read_text())


def test_statistics_survive_a_torn_line_and_are_cut_at_a_position(folder: RunFolder) -> None:
    for images in (10, 20, 30):
        folder.append_stats({"images_seen": images})
    with (folder.path / "stats.jsonl").open("a") as handle:
        handle.write('{"images_se')
    folder.cut_stats(20)
    assert folder.read_stats() == [{"images_seen": 10}, {"images_seen": 20}]
    assert (folder.path / "stats.jsonl").read_text().count("\n") == 2


def test_a_second_process_is_refused_and_a_dead_one_frees_the_folder(folder: RunFolder) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom shopgen_django.ml.files import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match="Another run"), files.folder_lock(folder.path):
            pytest.fail("two runs held the folder")
        other.kill()
    with files.folder_lock(folder.path):
        pass


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(letter.txt\)"):
        RunFolder(tmp_path).prepare()
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_state_is_never_unpickled(folder: RunFolder, tmp_path: Path) -> None:
    """A pickle in the place of a state, even with its hash vouched for, is an error and not a program."""
    import pickle

    marker = tmp_path / "executed"

    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    data = pickle.dumps(Gadget())
    (folder.path / STATE).write_bytes(data)
    files.write_json(folder.path / "state.json", {"sha256": [files.sha256_bytes(data)]})
    with pytest.raises(CheckpointError):
        folder.load_state()
    assert not marker.exists()
    assert not (folder.path / PREVIOUS).exists()
