"""Model versions side by side, and an evaluation's report, in a real browser."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.models import ModelVersion
from shopgen_django.services.evaluations import record_evaluation
from tests.ml.photos import COLOURS, photo

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def version(number: int, folder: Path, kid: float, extractor: str) -> ModelVersion:
    """A version with a sheet of samples, a report, and figures."""
    from shopgen_django.ml.pictures import sheet

    (folder / "samples").mkdir(parents=True)
    pictures = [photo(category, 10 * number + index) for category in COLOURS for index in range(8)]
    sheet(pictures, columns=8).save(folder / "samples" / "1.png")
    (folder / "report.html").write_text("<h1>Evaluation of it</h1><script>document.title = 'ran'</script>")
    row = ModelVersion.objects.create(
        name="dresses", version=number, folder=str(folder), weights_sha256=str(number) * 64, weights_bytes=1, photos=240
    )
    floored = {"value": kid, "floor": 0.001, "at_floor": kid, "count": 120}
    figures = dict.fromkeys(("kid", "fid", "precision", "recall", "density", "coverage"), floored)
    values = {
        **figures, "extractor": {"id": extractor}, "reference": {"digest": "x", "count": 240, "kind": "train"},
        "count": 1000, "memory": {"ratio": 0.9}, "variety": 0.8, "double_pairs": 2,
    }  # fmt: skip
    return record_evaluation(version=row, values=values)


def test_versions_side_by_side(page: Any, tmp_path: Path, shoot: Any) -> None:
    for number, kid, extractor in ((1, 0.31, "net@1"), (2, 0.12, "net@1"), (3, 0.01, "other@2")):
        version(number, tmp_path / str(number), kid, extractor)
    page.goto("/admin/shopgen/modelversion/")
    page.check("#action-toggle")
    page.select_option("select[name=action]", label="Compare side by side")
    page.click("button[name=index]")
    table = page.locator(".sg-compare table")
    expect(table.locator("img")).to_have_count(3)
    for image in table.locator("img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    expect(table.locator("strong").first).to_have_text("0.1200")
    expect(table).to_contain_text("another feature network")
    expect(table).not_to_contain_text("0.0100")
    shoot(page, "compare-versions", whole=True)
    page.click("thead a >> nth=0")
    expect(page.locator("#content")).to_contain_text("1000 made pictures against 240 real ones")
    shoot(page, "version-evaluated", whole=True)
    page.click("text=Report with samples")
    expect(page.locator("h1")).to_have_text("Evaluation of it")
    assert page.title() != "ran"  # a report can run nothing
