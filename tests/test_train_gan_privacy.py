"""``manage.py train_gan --dp-epsilon``: the catalogue's products are the units, the version knows what was spent."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.models import ModelVersion, TrainingRun
from shopgen_django.services.training import _groups, export_photos
from tests.ml.photos import photo
from tests.testshop.models import Category, Product

pytestmark = pytest.mark.django_db

TINY: dict[str, Any] = {
    "size": 16, "width": 4, "latent": 8, "batch_size": 2, "images_seen": 12, "threads": 1, "device": "cpu",
    "tick_seconds": 0.0, "snapshot_seconds": 3600.0, "dp_epsilon": 8.0, "dp_noise": 2.0,
}  # fmt: skip


@pytest.fixture
def shop() -> list[Product]:
    """Eight products, two of which show the same photo."""
    category = Category.objects.create(name="bags")
    products = []
    for number in range(8):
        buffer = io.BytesIO()
        photo("bags", min(number, 6)).save(buffer, "PNG")
        product = Product(name=f"bag {number}", category=category)
        product.image.save(f"{number}.png", ContentFile(buffer.getvalue()), save=True)
        products.append(product)
    return products


def test_the_export_says_which_photos_belong_together(shop: list[Product], tmp_path: Path) -> None:
    export_photos(catalogue=get_catalogue("default"), folder=tmp_path)
    with (tmp_path / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 7
    assert {row["product"] for row in rows} == {str(p.pk) for p in shop[:7]}


def test_products_linked_by_shared_files_stand_together() -> None:
    groups = _groups({"a": ["1"], "b": ["1", "2"], "c": ["2", "3"], "d": ["4"], "e": ["3"]})
    assert groups == {"a": "1", "b": "1", "c": "1", "d": "4", "e": "1"}


def test_epsilon_and_delta_stand_on_the_version(shop: list[Product]) -> None:
    out = io.StringIO()
    call_command("train_gan", stdout=out, **TINY)
    version = ModelVersion.objects.get()
    assert version.epsilon is not None
    assert 0 < version.epsilon <= 8.0
    assert version.delta == 1e-5
    assert version.config["privacy"]["unit"] == "product"
    assert version.config["privacy"]["units"] == 7
    told = out.getvalue()
    assert "private: epsilon at most 8 at delta 1e-05 for each of 7 products" in told
    assert "far too few" in told
    run = TrainingRun.objects.get()
    assert run.latest["epsilon"] == pytest.approx(version.epsilon, rel=1e-4)
    assert not {"real_logit", "loss_d"} & run.latest.keys()


def test_an_open_run_has_no_epsilon_and_a_refusal_is_a_command_error(shop: list[Product]) -> None:
    with pytest.raises(CommandError, match="--loss rp can't go with --dp-epsilon"):
        call_command("train_gan", stdout=io.StringIO(), **TINY, loss="rp")
    open_run = {**TINY, "dp_epsilon": None, "dp_noise": None, "warm_images": 0}
    call_command("train_gan", stdout=io.StringIO(), **open_run)
    version = ModelVersion.objects.get()
    assert (version.epsilon, version.delta) == (None, None)
