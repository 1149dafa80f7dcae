"""The tiny models of the engine's tests, photos, and one run that many tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diffusion.conftest import copy, sd, sd_inpaint, sdxl, use
from tests.lora_training.photos import learn, make_photos

__all__ = ["copy", "sd", "sd_inpaint", "sdxl", "use"]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "mug")


@pytest.fixture(scope="session")
def learnt(sd: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six steps with samples."""
    output = tmp_path_factory.mktemp("runs") / "mug"
    learn(sd, photos, output, samples=2, sample_every=3, measure_every=3)
    return output
