"""Trainings asked for from a page, by a real worker in real processes: killed, stopped, resumed, with a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from .shop import Shop, kill

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TINY = {"size": 16, "batch_size": 4, "init": "scratch", "augment": "off"}
FOR_EVER = {**TINY, "images_seen": 10_000_000}


class TrainingShop:
    """A shop with photos, and what a person does with its trainings."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ask("photos")

    def ask(self, verb: str, **given: Any) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.trainings", verb, json.dumps(given)], env=self.shop.env,
            cwd=self.shop.folder, text=True, capture_output=True, check=False, timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def row(self) -> dict[str, Any]:
        columns = ("state", "error", "images_seen", "pid", "stage", "estimate", "output_dir", "progress", "process")
        values = self.shop.sql(f"SELECT {', '.join(columns)} FROM shopgen_trainingrun")[0]
        return dict(zip(columns, values, strict=True))

    def until(self, state: str, *, seconds: float = 60.0) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            row = self.row()
            return row if row["state"] == state else None

        try:
            found: dict[str, Any] = self.shop.wait(there, seconds=seconds, what=f"the run is {state}")
        except Exception as error:
            raise AssertionError(f"{self.row()}\n{self.shop.log()}\n{self.said()}") from error
        return found

    def training(self, *, after: int = 0) -> dict[str, Any]:
        """The row, once a process of its own trains and has seen more than ``after`` pictures."""

        def trains() -> dict[str, Any] | None:
            row = self.row()
            assert row["state"] != "failed", f"{row}\n{self.said()}"
            return row if row["state"] == "running" and row["images_seen"] > after else None

        found: dict[str, Any] = self.shop.wait(trains, seconds=90, what="it trains")
        return found

    def said(self) -> str:
        logs = self.shop.folder.glob("**/training/logs/*.log")
        return "\n".join(path.read_text() for path in logs)


@pytest.fixture
def trainer(sqlite_shop: Shop) -> Iterator[TrainingShop]:
    found = TrainingShop(sqlite_shop)
    yield found
    with suppress(IndexError, ProcessLookupError, TypeError):
        kill(int(found.row()["pid"]))


def test_planned_started_outlives_the_worker_stopped_resumed_used(trainer: TrainingShop) -> None:
    shop = trainer.shop
    trainer.ask("plan", name="bags", options=FOR_EVER, activate=True)
    worker = shop.start_worker()
    estimate = json.loads(trainer.until("planned")["estimate"])
    assert (estimate["photos"], estimate["categories"]) == (10, {"bags": 5, "hats": 5})
    assert estimate["images_per_second"] > 0 and estimate["memory_bytes"] > 0 and estimate["images"] == 10_000_000

    trainer.ask("start")
    before = trainer.training()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(40) == 0
    assert "goes on without this worker" in shop.log()
    later = trainer.training(after=before["images_seen"])
    assert later["pid"] == before["pid"]

    shop.start_worker()
    trainer.ask("stop")
    stopped = trainer.until("stopped")
    # The run says that it has stopped first, and then its model is registered.
    kept = shop.wait(
        lambda: shop.sql("SELECT is_active FROM shopgen_modelversion"), seconds=30, what="the model is registered"
    )
    assert kept == [(0,)]
    trainer.ask("resume", minutes=0.01)  # it has trained for longer: it is finished at once
    done = trainer.until("succeeded")
    assert done["images_seen"] >= stopped["images_seen"] and done["error"] == ""
    shop.wait(
        lambda: shop.sql("SELECT is_active FROM shopgen_modelversion WHERE is_active = 1"), seconds=20,
        what="the model is in use",
    )


def test_a_killed_process_ends_with_the_reason_and_goes_on_when_asked(trainer: TrainingShop) -> None:
    trainer.shop.start_worker()
    trainer.ask("plan", name="bags", options=FOR_EVER, start=True)
    kill(int(trainer.training()["pid"]))
    trainer.until("lost", seconds=20)
    # A sweep may notice first, without knowing why; who waits for the process then says it.
    lost = trainer.shop.wait(
        lambda: (row := trainer.row()) and "SIGKILL" in row["error"] and row, seconds=20, what="the reason is told"
    )
    assert lost["state"] == "lost" and "memory" in lost["error"]
    trainer.ask("resume")
    again = trainer.training()
    # A signal from the system is nobody's wish: it saves, and goes on by itself.
    os.kill(int(again["pid"]), signal.SIGTERM)
    anew = trainer.shop.wait(
        lambda: (row := trainer.row())["state"] == "running" and row["pid"] not in (None, again["pid"]) and row,
        seconds=60, what="it goes on by itself",
    )
    later = trainer.training(after=again["images_seen"])
    assert later["pid"] == anew["pid"]


def test_a_worker_that_finds_a_dead_training_says_so(trainer: TrainingShop) -> None:
    """Killed while no worker ran: nobody collects its exit status, yet the next worker sees that it is gone."""
    worker = trainer.shop.start_worker()
    trainer.ask("plan", name="bags", options=FOR_EVER, start=True)
    pid = int(trainer.training()["pid"])
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(40) == 0
    kill(pid)
    trainer.shop.start_worker()
    assert "went away" in trainer.until("lost", seconds=20)["error"]


def test_a_full_disk_ends_with_the_reason(trainer: TrainingShop) -> None:
    trainer.shop.start_worker()
    trainer.ask("plan", name="bags", options=FOR_EVER, start=True)
    stats = Path(trainer.training()["output_dir"]) / "stats.jsonl"
    stats.unlink(missing_ok=True)
    stats.symlink_to("/dev/full")  # every byte that is written to it says "no space left"
    failed = trainer.until("failed", seconds=30)
    assert "No room on the disk" in failed["error"]
    stats.unlink()
    trainer.ask("resume")
    trainer.training(after=failed["images_seen"])


def test_what_cannot_be_is_said_by_the_estimate(trainer: TrainingShop) -> None:
    trainer.shop.sql("DELETE FROM testshop_product")
    trainer.ask("plan", name="bags", options=FOR_EVER)
    trainer.shop.start_worker()
    assert "no product with a photo" in trainer.until("failed")["error"]
