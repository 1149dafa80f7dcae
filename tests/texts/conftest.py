"""Tiny models that look at pictures, made once; one of them has learnt to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shopgen_django.engines import reset_engines
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.texts import TextRequest
from shopgen_django.engines.wording import question
from tests.texts import tiny

ANSWER = '{"title":"Red shirt","alt_text":"A red shirt on a table"}'


def picture(size: tuple[int, int] = (90, 70)) -> Image.Image:
    return Image.new("RGB", size, (200, 30, 30))


def request(**values: Any) -> TextRequest:
    fields: dict[str, Any] = {
        "images": (picture(),), "kinds": ("title", "alt_text"), "title": "shirt",
        "lengths": {"title": 120, "alt_text": 180},
    }  # fmt: skip
    return TextRequest(**{**fields, **values})


@pytest.fixture(scope="session")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_blip(tmp_path_factory.mktemp("models") / "tiny-blip")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follows instructions, one: it was trained to answer :func:`request` with :data:`ANSWER`."""
    folder = tiny.make_llava(tmp_path_factory.mktemp("models") / "tiny-llava")
    tiny.teach(folder, picture(), question(request()), ANSWER)
    return folder


@pytest.fixture(autouse=True)
def _nothing_stays_loaded() -> Iterator[None]:
    """The shelf of loaded models is one for all engines, so other tests would find these there."""
    yield
    SHELF.release()


@pytest.fixture
def use(settings: Any) -> Iterator[Callable[..., None]]:
    """``use(text={…}, tags={…})``: entries of the engines' setting."""

    def used(**engines: dict[str, Any]) -> None:
        settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": engines, "LIMITS": {"THREADS": 1}}

    yield used
    reset_engines()
