"""The demo's own machinery: a failing step is told and stops the rest, and no process stays behind."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from example_project import demo as demo_module
from example_project.demo_steps import Demo, StepFailed, require_provenance
from example_project.processes import ChildEnded, Children, free_port
from example_project.shop_client import ShopClient

GRANDCHILD = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def children(tmp_path: Path) -> Children:
    return Children(env=dict(os.environ), cwd=tmp_path)


@pytest.fixture
def demo(tmp_path: Path, children: Children) -> Demo:
    return Demo(var=tmp_path, port=1, minutes=0.1, check=True, env=dict(os.environ), children=children)


def wait_for(log: Path, word: str) -> None:
    while word not in log.read_text(encoding="utf-8"):
        time.sleep(0.05)


def test_stop_ends_grandchildren_in_sessions_of_their_own(children: Children, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children.start("server", [sys.executable, "-c", GRANDCHILD], log)
    wait_for(log, "started")
    assert len(children.left_over()) == 2
    assert "server ended" in children.stop()
    deadline = time.monotonic() + 10
    while children.left_over() and time.monotonic() < deadline:
        time.sleep(0.05)  # the killed grandchild is still being taken off the table
    assert children.left_over() == []


def test_a_server_that_ends_is_noticed_with_its_last_words(children: Children, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('port taken'); raise SystemExit(3)"]
    server = children.start("web server", command, tmp_path / "log")
    server.wait()
    with pytest.raises(ChildEnded, match=r"(?s)web server ended with 3:.*port taken"):
        children.require_running()
    children.stop()


def test_a_failing_step_is_told_and_ends_the_run(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def start(demo: Demo) -> str:
        demo.children.start("server", [sys.executable, "-c", "import time; time.sleep(600)"], demo.var / "log")
        return "fine"

    def fail(demo: Demo) -> str:
        raise StepFailed("the shop burnt down")

    def never(demo: Demo) -> str:
        done.append("never")
        return ""

    monkeypatch.setattr(demo_module, "PREPARE", [("start", start), ("fail", fail), ("never", never)])
    monkeypatch.setattr(demo_module.signal, "signal", lambda *arguments: None)
    assert demo_module.run(demo) == 1
    out = capsys.readouterr().out
    assert "start             ok" in out
    assert "fail              failed" in out
    assert "the shop burnt down" in out
    assert done == []
    assert demo.children.left_over() == []


def test_a_command_that_fails_says_why(demo: Demo) -> None:
    with pytest.raises(StepFailed, match=r"(?s)ended with 2.*no such thing"):
        demo.run([sys.executable, "-c", "print('no such thing'); raise SystemExit(2)"], log="train.log")
    with pytest.raises(StepFailed, match="no such thing"):
        demo.run([sys.executable, "-c", "print('no such thing'); raise SystemExit(2)"])


def test_another_port_when_the_wanted_one_is_taken() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert free_port(taken) != taken


def test_nothing_listens(demo: Demo) -> None:
    assert ShopClient("http://127.0.0.1:1").answers() is False


def test_a_picture_without_provenance_fails() -> None:
    with pytest.raises(StepFailed, match="XMP"):
        require_provenance(b"\x89PNG nothing inside")
