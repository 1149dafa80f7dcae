"""What every test gets: private files and media of its own, no rings left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from shopgen_django.jobs.queues.dummy import DummyQueue

# Machines that run several things at once are slow now and then; that is not what these tests look for.
hypothesis_settings.register_profile("shopgen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("shopgen")


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, settings: Any) -> Iterator[None]:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.SHOPGEN = {**settings.SHOPGEN, "ROOT": str(tmp_path / "shopgen")}
    DummyQueue.rings.clear()
    yield
    DummyQueue.rings.clear()
