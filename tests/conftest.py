"""What every test gets: private files and media of its own, no rings left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.jobs.queues.dummy import DummyQueue


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, settings: Any) -> Iterator[None]:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.SHOPGEN = {**settings.SHOPGEN, "ROOT": str(tmp_path / "shopgen")}
    DummyQueue.rings.clear()
    yield
    DummyQueue.rings.clear()
