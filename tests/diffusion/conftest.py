"""Tiny models, made once for all tests; nothing of them stays loaded between tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines import reset_engines
from tests.diffusion import tiny


@pytest.fixture(scope="session")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_sd(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="session")
def sd_inpaint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_sd(tmp_path_factory.mktemp("models") / "tiny-inpaint", in_channels=9)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a model's folder to damage."""

    def copied(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "model"))

    return copied


@pytest.fixture
def use(settings: Any) -> Iterator[Callable[..., None]]:
    """``use(MODEL=folder, …)``: the options of the engine behind the alias ``diffusion``."""

    def used(**options: Any) -> None:
        # One thread: several on networks this small only wait for each other.
        settings.SHOPGEN = {
            **settings.SHOPGEN, "ENGINES": {"diffusion": {"OPTIONS": options}}, "LIMITS": {"THREADS": 1}
        }

    yield used
    reset_engines()
