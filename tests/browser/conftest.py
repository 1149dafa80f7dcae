"""A real Chromium against a live server with real photos. Without Chromium: left out with a word, in CI an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile

from tests.testshop.models import Category, Product

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "example_project" / "data" / "clothing_cc0"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

if not admin.site.is_registered(Product):

    @admin.register(Product)
    class ProductAdmin(admin.ModelAdmin):
        """The shop's own product list: knows nothing of shopgen."""

        list_display = ["name", "category"]


def chromium() -> str:
    """Path of the browser. Skips, or fails in CI, when there is none."""
    if find_spec("playwright") is None:
        _away("The Python package playwright is not installed, so the browser tests can't run.")
    found = os.environ.get("SHOPGEN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        _away("No Chromium: install it, or name it in SHOPGEN_CHROMIUM, to run the browser tests.")
    return found


def _away(text: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, in which Django would refuse to touch the database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def boss(transactional_db: None) -> Any:
    return get_user_model().objects.create_superuser("merchandiser", password="secret", first_name="Mei")


@pytest.fixture
def page(browser: Any, live_server: Any, boss: Any) -> Iterator[Any]:
    """A page that is logged in; an error in the page's scripts or a refused request fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 900}, base_url=live_server.url)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    tab.goto("/admin/login/?next=/admin/shopgen/")
    tab.fill("#id_username", "merchandiser")
    tab.fill("#id_password", "secret")
    tab.click("input[type=submit]")
    yield tab
    context.close()
    assert errors == []


@pytest.fixture
def shoot(request: Any, tmp_path: Path) -> Any:
    """``shoot(page, name)`` writes a screenshot into SHOPGEN_SCREENSHOTS or the test's folder."""
    folder = Path(os.environ.get("SHOPGEN_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(tab: Any, name: str, *, whole: bool = False) -> Path:
        path = folder / f"{name}.png"
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=str(path), full_page=whole)
        return path

    return take


def photos(number: int, category: str = "") -> list[tuple[bytes, str]]:
    """Real photos and their categories, in the order of the data set's list."""
    import csv

    rows = []
    with (PHOTOS / "labels.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if not category or row["label"] == category:
                rows.append((PHOTOS / "images" / Path(row["file"]).name, row["label"]))
    assert len(rows) >= number
    step = max(1, len(rows) // number)
    return [(path.read_bytes(), label) for path, label in rows[::step][:number]]


@pytest.fixture
def products(transactional_db: None) -> list[Product]:
    """Six products with real photos."""
    found = []
    for number, (content, label) in enumerate(photos(6), start=1):
        category, _made = Category.objects.get_or_create(name=label)
        row = Product(name=f"{label.capitalize()} no. {number}", category=category)
        row.image.save(f"{number}.jpg", ContentFile(content), save=True)
        found.append(row)
    return found
