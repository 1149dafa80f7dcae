"""``manage.py compress_model``: a version beside the teacher's, used by ``generate`` without PyTorch."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from shopgen_django.engines import get_engine, reset_engines
from shopgen_django.engines.onnx_generator import OnnxGenerator
from shopgen_django.exceptions import InvalidState
from shopgen_django.ml.compression import table
from shopgen_django.ml.loop import train
from shopgen_django.models import ModelVersion
from shopgen_django.services.models import (
    activate_version,
    folder_to_begin_with,
    register_version,
    trainable_version,
    verify_version,
)
from tests.ml.photos import make_folder, tiny

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("teacher")
    train(tiny(make_folder(base / "photos", 20), base / "run", width=8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "TIMED", 3)
        yield base / "run"


@pytest.fixture
def teacher(run_folder: Path) -> ModelVersion:
    return register_version(folder=run_folder, name="shop model", licence="CC0-1.0", activate=True)


@pytest.fixture
def compress() -> Callable[..., str]:
    def function(model: str, **options: Any) -> str:
        out = io.StringIO()
        call_command("compress_model", model, stdout=out, **{"compared": 16, "threads": 1, "images": 32, **options})
        return out.getvalue()

    return function


def test_the_shops_model_becomes_a_smaller_version(teacher: ModelVersion, compress: Callable[..., str]) -> None:
    told = compress("shop model", ratio=0.6, activate=True)
    version = ModelVersion.objects.get(teacher=teacher)
    assert (version.name, version.version, version.engine) == ("shop model", 2, "generator-onnx")
    assert (version.is_active, version.licence, version.manifest_sha256) == (True, "CC0-1.0", teacher.manifest_sha256)
    assert version.photos == teacher.photos
    assert version.metrics["psnr_to_teacher"] > 15
    assert version.weights_bytes == (Path(version.folder) / "model.onnx").stat().st_size
    assert "Registered as shop model v2 (active, compressed from shop model v1)." in told
    assert "prune, ONNX 8 bit" in told
    # Training and compressing go on from what can be trained, not from the export that is in use.
    assert trainable_version(name="shop model") == teacher
    assert folder_to_begin_with(name="shop model") == Path(teacher.folder)
    with pytest.raises(CommandError, match="is an ONNX export"):
        compress("shop model v2")


def test_pruned_for_pytorch_it_runs_on_the_engine_of_trained_models(
    teacher: ModelVersion, compress: Callable[..., str], tmp_path: Path
) -> None:
    compress(teacher.folder, methods=["prune"], runtime="torch", ratio=0.6, output=str(tmp_path / "o"), name="pruned")
    version = ModelVersion.objects.get(name="pruned")
    assert (version.teacher, version.engine, version.is_active) == (teacher, "generator", False)


def test_changed_weights_are_refused(teacher: ModelVersion, compress: Callable[..., str]) -> None:
    compress("shop model v1", methods=["export"])
    version = ModelVersion.objects.get(teacher=teacher)
    compress("shop model v1", methods=["export"])  # into another folder: a registered one is not written over
    assert verify_version(version=version) is None
    weights = Path(version.folder) / "model.onnx"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(InvalidState, match="changed after they were registered"):
        activate_version(version=version)
    weights.unlink()
    with pytest.raises(InvalidState, match="are gone"):
        verify_version(version=version)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nothing", {}, r"no model and no folder 'nothing'\. There are: shop model"),
        ("shop model", {"methods": ["distil", "prune"]}, "take one of the two"),
        ("shop model", {"ratio": 0.01}, "can't be reached"),
        ("shop model", {"name": " "}, "--name"),
    ],
)
def test_errors_are_plain_words(
    model: str, options: dict[str, Any], message: str, teacher: ModelVersion, compress: Callable[..., str]
) -> None:
    with pytest.raises(CommandError, match=message):
        compress(model, **options)
    assert ModelVersion.objects.count() == 1


GENERATE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx"}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Refuse())
import django
django.setup()
from pathlib import Path
from shopgen_django.operations.base import ModelFiles, OperationContext
from shopgen_django.operations.registry import get_operation
operation = get_operation("generate")
model = ModelFiles(id="1", name="small v1", engine="generator-onnx", folder=Path(sys.argv[1]),
                   weights_sha256=sys.argv[2], categories=("bags", "hats"))
params = operation.Parameters.parse({"count": 3, "seed": 5})
made = list(operation.run(OperationContext(params=params, model=model, threads=2)))
for number, output in enumerate(made):
    output.image.save(f"{sys.argv[3]}/{number}.png")
print(len(made), sorted(name for name in ("torch", "onnx") if name in sys.modules))
"""


def test_generate_runs_it_in_a_process_without_torch_and_draws_the_teachers_products(
    teacher: ModelVersion, compress: Callable[..., str], tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    compress("shop model", methods=["export"])
    version = ModelVersion.objects.get(teacher=teacher)
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "SHOPGEN_TEST_DIR": str(tmp_path)}
    env.pop("SHOPGEN_TEST_POSTGRES", None)
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, version.folder, version.weights_sha256, str(tmp_path)],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 []"
    reset_engines()
    wanted = list(
        get_engine("generator").generate(model=_files(teacher), count=3, category=None, seed=5, truncation=0.8)
    )
    for number, (picture, _category) in enumerate(wanted):
        with Image.open(tmp_path / f"{number}.png") as made:
            assert np.abs(np.asarray(made, dtype=int) - np.asarray(picture, dtype=int)).max() <= 1


def _files(version: ModelVersion) -> Any:
    from shopgen_django.operations.base import ModelFiles

    return ModelFiles(
        id="1", name="m", engine=version.engine, folder=Path(version.folder), weights_sha256=version.weights_sha256
    )


def test_the_engine_says_when_its_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = get_engine("generator-onnx")
    assert isinstance(engine, OnnxGenerator)
    assert engine.check() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'shopgen-django[onnx]'" in engine.check()[0]


def test_admin_and_api_show_where_it_came_from(
    teacher: ModelVersion, compress: Callable[..., str], admin_client: Client
) -> None:
    compress("shop model", methods=["export"])
    version = ModelVersion.objects.get(teacher=teacher)
    page = admin_client.get(reverse("admin:shopgen_modelversion_change", args=[version.pk])).content.decode()
    for words in ("Compressed from", "shop model v1", "generator-onnx", "teacher, ONNX", "Before and after"):
        assert words in page
    page = admin_client.get(reverse("admin:shopgen_modelversion_change", args=[teacher.pk])).content.decode()
    assert "Compressed to" in page
    answer = admin_client.get(reverse("shopgen-api:model-detail", args=[version.pk]))
    assert answer.json()["teacher"] == str(teacher.pk)
