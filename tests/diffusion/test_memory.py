"""Where a model is laid, what counts as running out of memory, and that released models are really given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.folder import read_folder
from shopgen_django.engines.diffusers.loading import place, weights_in
from shopgen_django.engines.diffusers.memory import Plan, plan_for, ran_out
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.errors import OutOfMemory
from shopgen_django.engines.memory import free_bytes
from tests.diffusion.test_engine import half_mask, photo, request

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "device", "batch", "expected"),
    [
        (24, "cuda", 4, Plan(placement="whole", tiling=False, batch=4)),
        (8, "cuda", 8, Plan(placement="whole", tiling=False, batch=2)),
        (4, "cuda", 4, Plan(placement="parts", tiling=True, batch=1)),
        (1, "cuda", 4, Plan(placement="layers", tiling=True, batch=1)),
        (1, "cpu", 1, Plan(placement="whole", tiling=True, batch=1)),
        (0, "cuda", 3, Plan(placement="whole", tiling=False, batch=3)),
    ],
)
def test_what_is_free_decides(free: int, device: str, batch: int, expected: Plan) -> None:
    made = plan_for(
        weights=5 * GIB, largest=int(2.5 * GIB), free=free * GIB, device=device, pixels=512 * 512, batch=batch
    )
    assert made == expected


class Pipeline:
    """Notes what is asked of it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error = error

    def to(self, device: str) -> None:
        self.calls.append(("to", device))
        if self.error:
            raise self.error

    def enable_model_cpu_offload(self, device: str) -> None:
        self.calls.append(("parts", device))

    def enable_sequential_cpu_offload(self, device: str) -> None:
        self.calls.append(("layers", device))


@pytest.mark.parametrize(("placement", "call"), [("whole", "to"), ("parts", "parts"), ("layers", "layers")])
def test_a_plan_is_carried_out(placement: Any, call: str) -> None:
    pipeline = Pipeline()
    place(pipeline, Plan(placement=placement, tiling=False, batch=1), "cuda:1")
    assert pipeline.calls == [(call, "cuda:1")]


def test_a_model_that_does_not_fit_is_told() -> None:
    import torch

    plan = Plan(placement="whole", tiling=False, batch=1)
    with pytest.raises(OutOfMemory, match="cuda"):
        place(Pipeline(torch.OutOfMemoryError("CUDA out of memory")), plan, "cuda")
    with pytest.raises(RuntimeError, match="driver"):
        place(Pipeline(RuntimeError("no driver")), plan, "cuda")


def test_running_out_is_told_from_other_errors() -> None:
    assert ran_out(MemoryError()) and ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not ran_out(RuntimeError("shape")) and not ran_out(ValueError("out of memory"))


def test_sizes_come_from_the_headers(sd: Path) -> None:
    folder = read_folder(sd)
    weights, largest = weights_in(folder, "float32")
    assert folder.bytes * 0.98 < weights <= folder.bytes and largest < weights
    assert weights_in(folder, "bfloat16")[0] * 2 == weights
    assert free_bytes("cpu") > weights


def test_loading_and_releasing_does_not_grow(sd: Path) -> None:
    process, sizes = psutil.Process(), []
    for _round in range(6):
        engine = Diffusers(MODEL=str(sd))
        list(engine.run(request(steps=1)))
        engine.free()
        sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[2] < 20e6


def test_the_least_recently_used_model_makes_room(sd: Path, sd_inpaint: Path, sdxl: Path) -> None:
    SHELF.release()
    engines = [Diffusers(MODEL=str(folder), CACHE=2) for folder in (sd, sdxl)]
    for engine in engines:
        list(engine.run(request()))
    assert len(SHELF) == 2
    list(engines[0].run(request()))
    third = Diffusers(MODEL=str(sd), INPAINT_MODEL=str(sd_inpaint), CACHE=2)
    list(third.run(request(task="inpaint", image=photo(), mask=half_mask())))
    assert [key[0] for key in SHELF._entries] == [str(sd), str(sd_inpaint)]
    for engine in (*engines, third):
        engine.free()
    assert not len(SHELF)


def test_a_model_at_work_is_not_released(sd: Path, sdxl: Path) -> None:
    SHELF.release()
    first, second = Diffusers(MODEL=str(sd), CACHE=1), Diffusers(MODEL=str(sdxl), CACHE=1)
    seen: list[int] = []

    def during(share: float) -> None:
        if not seen:
            seen.append(0)
            list(second.run(request()))
            seen.append(len(SHELF))

    made = list(first.run(request(), on_step=during))
    assert seen[1] == 2 and len(made) == 1
    first.free()
    second.free()


def test_pressure_releases_models(sd: Path, sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SHELF.release()
    first, second = Diffusers(MODEL=str(sd), CACHE=9), Diffusers(MODEL=str(sdxl), CACHE=9)
    list(first.run(request()))
    monkeypatch.setattr("shopgen_django.engines.diffusers.shelf.free_bytes", lambda device: 1_000_000)
    list(second.run(request()))
    assert [key[0] for key in SHELF._entries] == [str(sdxl)]
    second.free()
