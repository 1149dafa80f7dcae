"""``manage.py train_gan``: the shop's photos in, rows while it goes, a model version out, plain errors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import OperationalError

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.exceptions import InvalidParameters
from shopgen_django.ml.errors import Diverged
from shopgen_django.ml.families import MODULES, get_family
from shopgen_django.ml.sample import load_generator
from shopgen_django.models import MetricPoint, ModelVersion, TrainingRun
from shopgen_django.models.choices import RunState
from shopgen_django.services import training
from shopgen_django.services.training import export_photos
from tests.factories import make_image
from tests.ml.photos import make_folder, photo
from tests.testshop.models import Category, Product

pytestmark = pytest.mark.django_db

TINY: dict[str, Any] = {
    "size": 16, "width": 4, "latent": 8, "batch_size": 4, "images_seen": 24, "warm_images": 8, "threads": 1,
    "device": "cpu", "tick_seconds": 0.0, "snapshot_seconds": 3600.0,
}  # fmt: skip


def _png(category: str, number: int) -> bytes:
    buffer = io.BytesIO()
    photo(category, number).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shop() -> list[Product]:
    """Eight products with a photo in two categories, one without a photo."""
    categories = {name: Category.objects.create(name=name) for name in ("bags", "hats")}
    products = []
    for number in range(8):
        name = list(categories)[number % 2]
        product = Product(name=f"{name} {number}", category=categories[name])
        product.image.save(f"{number}.png", ContentFile(_png(name, number)), save=True)
        products.append(product)
    Product.objects.create(name="bare", category=categories["bags"])
    return products


@pytest.fixture
def train() -> Callable[..., str]:
    def function(**options: Any) -> str:
        out = io.StringIO()
        call_command("train_gan", stdout=out, **{**TINY, **options})
        return out.getvalue()

    return function


def test_photos_of_the_shop_become_a_registered_model(shop: list[Product], train: Callable[..., str]) -> None:
    told = train(name="shop model", activate=True)
    assert "8 photos from the catalogue, 1 products without a photo" in told
    run = TrainingRun.objects.get()
    assert (run.name, run.state, run.photos, run.images_seen) == ("shop model", RunState.SUCCEEDED, 8, 24)
    assert run.progress == 1.0
    assert run.finished_at is not None
    assert run.heartbeat_at is not None
    assert run.config["loss"] == "rp"
    assert run.dataset["categories"] == {"bags": 4, "hats": 4}
    assert "files" not in run.dataset
    assert run.latest["images_seen"] == 24
    assert (Path(run.output_dir) / run.latest_sample).is_file()
    points = MetricPoint.objects.filter(run=run)
    assert points.count() >= 2
    assert "loss_d" in points.last().values  # type: ignore[union-attr]
    version = ModelVersion.objects.get()
    assert (version.name, version.version, version.category, version.is_active) == ("shop model", 1, "", True)
    assert version.run == run
    assert version.photos == 8
    generator = load_generator(version.folder, expected_sha256=version.weights_sha256)
    assert generator.categories == ("bags", "hats")
    assert "Registered as shop model v1 (active)" in told


def test_one_category_makes_a_model_for_that_category(shop: list[Product], train: Callable[..., str]) -> None:
    train(category=["hats"], activate=True)
    version = ModelVersion.objects.get()
    assert version.category == "hats"
    assert load_generator(version.folder).categories == ()
    assert TrainingRun.objects.get().photos == 4


def test_every_family_ends_as_a_version_of_its_purpose(
    train: Callable[..., str], tmp_path: Path, settings: Any
) -> None:
    """One command for all; a denoiser that is activated leaves the active generator where it is."""
    source = str(make_folder(tmp_path / "photos"))
    for architecture in MODULES:
        output = str(tmp_path / architecture)
        train(name=architecture, source=source, output=output, architecture=architecture, activate=True)
    active = {version.purpose: version.name for version in ModelVersion.objects.filter(is_active=True)}
    generators = [name for name in MODULES if get_family(name).purpose == "generate"]
    assert active == {"generate": generators[-1], "denoise": "denoiser"}
    assert ModelVersion.objects.count() == len(MODULES)
    assert all(run.latest_sample for run in TrainingRun.objects.all())


def test_a_folder_needs_no_catalogue(train: Callable[..., str], tmp_path: Path, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "CATALOGUES": {}}
    train(source=str(make_folder(tmp_path / "photos")), output=str(tmp_path / "run"))
    assert TrainingRun.objects.get().output_dir == str((tmp_path / "run").resolve())
    assert ModelVersion.objects.get().is_active is False


def test_running_again_goes_on_with_the_same_row(
    shop: list[Product], train: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml import runtime

    steps = 0

    def stop_at_three(self: runtime.StopFlag) -> bool:
        nonlocal steps
        steps += 1
        return steps > 3

    with monkeypatch.context() as patch:
        patch.setattr(runtime.StopFlag, "__call__", stop_at_three)
        told = train(activate=True)
    run = TrainingRun.objects.get()
    assert (run.state, run.images_seen) == (RunState.STOPPED, 12)
    assert "Stopped and saved" in told
    assert "not activated" in told
    assert ModelVersion.objects.get().is_active is False
    told = train(activate=True)
    assert "going on after 12 pictures" in told
    again = TrainingRun.objects.get()
    assert (again.pk, again.state, again.images_seen) == (run.pk, RunState.SUCCEEDED, 24)
    seen = list(MetricPoint.objects.values_list("images_seen", flat=True))
    assert seen == sorted(set(seen))
    assert list(ModelVersion.objects.order_by("version").values_list("version", "is_active")) == [(1, False), (2, True)]


def test_a_row_left_running_by_a_killed_process_is_taken_over(shop: list[Product], train: Callable[..., str]) -> None:
    train()
    TrainingRun.objects.update(state=RunState.RUNNING, finished_at=None)
    train(images_seen=32)
    assert list(TrainingRun.objects.values_list("state", "images_seen")) == [(RunState.SUCCEEDED, 32)]
    TrainingRun.objects.update(state=RunState.RUNNING, finished_at=None)
    train(fresh=True)
    states = sorted(TrainingRun.objects.values_list("state", flat=True))
    assert states == [RunState.LOST, RunState.SUCCEEDED]


def test_a_failed_run_says_why_on_its_row(
    shop: list[Product], train: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml.families.modern import ModernLearner

    def broken(self: ModernLearner, batch: Any) -> Any:
        raise Diverged("loss_d is no longer a finite number.")

    monkeypatch.setattr(ModernLearner, "step", broken)
    with pytest.raises(CommandError, match="no longer a finite number"):
        train()
    run = TrainingRun.objects.get()
    assert (run.state, run.error) == (RunState.FAILED, "loss_d is no longer a finite number.")
    assert not ModelVersion.objects.exists()


def test_an_unexpected_error_is_on_the_row_and_not_hidden(
    shop: list[Product], train: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.ml.families.modern import ModernLearner

    monkeypatch.setattr(ModernLearner, "step", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train()
    assert TrainingRun.objects.get().error == "ZeroDivisionError: division by zero"


def test_a_database_that_is_away_for_a_moment_does_not_stop_the_training(
    shop: list[Product], train: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(**values: Any) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(training, "record_tick", away)
        train()
    assert TrainingRun.objects.get().state == RunState.SUCCEEDED
    assert "database is locked" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": ["shoes"]}, "no photos in shoes. It has the categories: bags, hats"),
        ({"loss": "minimax"}, "--loss minimax is not for --architecture modern"),
        ({"name": " "}, "--name"),
        ({"catalogue": "other"}, "other"),
        ({"source": "/nowhere/at/all"}, "is not a folder"),
    ],
)
def test_errors_are_plain_words(
    options: dict[str, Any], message: str, shop: list[Product], train: Callable[..., str]
) -> None:
    with pytest.raises(CommandError, match=message):
        train(**options)
    assert not TrainingRun.objects.exists()


def test_an_empty_shop_says_what_to_do(train: Callable[..., str]) -> None:
    with pytest.raises(CommandError, match="no product with a photo"):
        train()


def test_dry_run_trains_and_records_nothing(shop: list[Product], train: Callable[..., str], settings: Any) -> None:
    told = train(dry_run=True, images_seen=None, minutes=30.0)
    settled, _end = json.JSONDecoder().raw_decode(told[told.index("{") :])
    assert settled["architecture"] == "modern"
    assert "pictures     8" in told
    assert "time         30:00" in told
    assert not TrainingRun.objects.exists()
    assert not (Path(settings.SHOPGEN["ROOT"]) / "training").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("train_gan", "--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for words in ("examples:", "--prepare {none,white}", "--activate", "--catalogue ALIAS", "how long", "--dry-run"):
        assert words in told


def test_export_is_content_addressed_follows_the_shop_and_leaves_made_pictures_out(
    shop: list[Product], tmp_path: Path
) -> None:
    catalogue = get_catalogue()
    first = export_photos(catalogue=catalogue, folder=tmp_path)
    assert (first.photos, first.without_picture, first.made) == (8, 1, 0)
    names = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    assert len(names) == 8
    # One product goes, and one photo turns out to be a published result.
    shop[0].delete()
    shop[1].image.open()
    make_image(content=shop[1].image.read(), kind="result")
    shop[1].image.close()
    second = export_photos(catalogue=catalogue, folder=tmp_path)
    assert (second.photos, second.made) == (6, 1)
    left = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    assert left.items() <= names.items()
    assert len(left) == 6
    labels = (tmp_path / "labels.csv").read_text().splitlines()
    assert labels[0] == "file,label,product"
    assert {line.split(",")[0] for line in labels[1:]} == set(left)
    with pytest.raises(InvalidParameters, match="shoes"):
        export_photos(catalogue=catalogue, folder=tmp_path, categories=("shoes",))


def test_the_shops_photos_are_not_changed(shop: list[Product], train: Callable[..., str]) -> None:
    before = [np.frombuffer(Path(product.image.path).read_bytes(), dtype=np.uint8) for product in shop]
    train()
    after = [np.frombuffer(Path(product.image.path).read_bytes(), dtype=np.uint8) for product in shop]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
