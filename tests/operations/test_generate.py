"""``generate`` with a real, tiny model: what is promised about seeds, and one engine per process."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines import get_engine, reset_engines
from shopgen_django.engines.base import Engine
from shopgen_django.exceptions import PermanentError
from shopgen_django.ml.loop import train
from shopgen_django.operations.base import ModelFiles, OperationContext, Output
from shopgen_django.operations.registry import get_operation
from tests.ml.photos import make_folder, tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    base = tmp_path_factory.mktemp("generate")
    train(tiny(make_folder(base / "photos"), base / "run"))
    folder = base / "run"
    return ModelFiles(
        id="1", name="clothes v1", engine="generator", folder=folder,
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        categories=tuple(json.loads((folder / "model.json").read_text())["categories"]),
    )


def run(model: ModelFiles, *, category: str = "", seed: int = 7, **params: Any) -> list[Output]:
    operation = get_operation("generate")
    context = OperationContext(
        params=operation.Parameters.parse(params), model=model, category=category, seed=seed,
    )
    return list(operation.run(context))


def pixels(outputs: list[Output]) -> list[bytes]:
    return [output.image.tobytes() for output in outputs]


def test_the_nth_picture_depends_on_the_seed_alone(model: ModelFiles) -> None:
    three, five = run(model, count=3), run(model, count=5)
    assert pixels(three) == pixels(five)[:3]
    reset_engines()
    assert pixels(run(model, count=3)) == pixels(three), "a second attempt, in another process"
    assert pixels(run(model, count=3, seed=8)) != pixels(three)
    assert len(set(pixels(five))) == 5
    assert {output.category for output in run(model, count=4)} == set(model.categories), "each gets its turn"


def test_a_seed_of_ones_own_wins(model: ModelFiles) -> None:
    operation = get_operation("generate")
    params = operation.Parameters.parse({"seed": 3, "count": 2})
    made = [
        pixels(list(operation.run(OperationContext(params=params, model=model, seed=seed)))) for seed in (1, 2)
    ]
    assert made[0] == made[1]


def test_categories(model: ModelFiles) -> None:
    assert [output.category for output in run(model, count=2, category="hats")] == ["hats", "hats"]
    with pytest.raises(PermanentError) as caught:
        list(
            get_operation("generate").run(
                OperationContext(
                    params=get_operation("generate").Parameters.parse({"category": "boats"}), model=model,
                )
            )
        )
    assert caught.value.code == "unknown_category"


class SlowEngine(Engine):
    made = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        time.sleep(0.05)
        type(self).made += 1


def test_threads_that_ask_at_once_share_one_engine(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"slow": {"BACKEND": f"{__name__}.SlowEngine"}}}
    SlowEngine.made = 0
    found: list[Engine] = []
    threads = [threading.Thread(target=lambda: found.append(get_engine("slow"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert SlowEngine.made == 1
    assert len(found) == 6 and len({id(engine) for engine in found}) == 1


def test_a_model_that_was_changed_is_refused(model: ModelFiles, tmp_path: Path) -> None:
    from dataclasses import replace

    from shopgen_django.ml.errors import ModelFileError

    with pytest.raises(ModelFileError, match="changed"):
        run(replace(model, weights_sha256="0" * 64), count=1)
