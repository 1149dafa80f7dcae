from __future__ import annotations

from pathlib import Path

import pytest

from shopgen_django.jobs import device
from shopgen_django.jobs.device import device_to_itself


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(device, "WAIT", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


def test_second_worker_on_the_device_waits_until_the_first_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def give_up() -> bool:
        asked.append(1)
        return len(asked) == 3

    with device_to_itself("gpu", give_up=lambda: True) as first:
        assert first
        with device_to_itself("gpu", give_up=give_up) as second:
            assert not second and len(asked) == 3
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with device_to_itself("gpu", give_up=lambda: True) as other_device:
            assert other_device
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with device_to_itself("gpu", give_up=lambda: True) as later:
        assert later


def test_processor_is_shared(tmp_path: Path) -> None:
    with device_to_itself("cpu", give_up=lambda: True) as first:  # noqa: SIM117
        with device_to_itself("cpu", give_up=lambda: True) as second:
            assert first and second
    assert list(tmp_path.iterdir()) == []
