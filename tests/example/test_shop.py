"""The example shop: what ``demo_load`` makes, what shoppers see, how little the settings need."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

LOOK = """
import hashlib, json
from django.contrib.auth import get_user_model
from django.db.models import Count
from django.test import Client
from example_project.shop.models import Category, Product
client = Client()
product = Product.objects.get(sku="dress-01")
print(json.dumps({
    "per_category": dict(Category.objects.annotate(n=Count("products")).values_list("name", "n")),
    "titles": len(set(Product.objects.values_list("title", flat=True))),
    "pictures": len({hashlib.sha256(p.image.read()).hexdigest() for p in Product.objects.all()}),
    "price": str(product.price),
    "admins": list(get_user_model().objects.filter(is_superuser=True).values_list("username", flat=True)),
    "home": client.get("/").content.decode(),
    "category": client.get("/category/hat/").content.decode(),
    "product": client.get(product.get_absolute_url()).content.decode(),
    "nothing": client.get("/product/none/").status_code,
}))
"""


class Shop:
    def __init__(self, var: Path) -> None:
        own = {"DJANGO_SETTINGS_MODULE": "example_project.settings", "SHOPGEN_DEMO_VAR": str(var)}
        self.env = {**os.environ, **own, "SHOPGEN_DEMO_HOSTS": "testserver"}

    def manage(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**self.env, **env}, capture_output=True, text=True
        )

    def look(self) -> dict[str, Any]:
        done = self.manage("shell", "--no-imports", "-c", LOOK)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    for command in (["migrate", "--verbosity=0"], ["demo_load"]):
        done = shop.manage(*command)
        assert done.returncode == 0, done.stderr
    return shop


@pytest.fixture(scope="module")
def seen(shop: Shop) -> dict[str, Any]:
    return shop.look()


def test_240_products_with_a_photo_each(seen: dict[str, Any]) -> None:
    assert set(seen["per_category"].values()) == {24}
    assert len(seen["per_category"]) == 10
    assert seen["titles"] == seen["pictures"] == 240


def test_public_pages(seen: dict[str, Any]) -> None:
    assert seen["home"].count('<img src="/media/products/') == 48
    assert seen["category"].count('<img src="/media/products/hat-') == 24
    assert 'id="main-picture" src="/media/products/dress-01' in seen["product"]
    assert seen["nothing"] == 404


def test_loading_twice_changes_nothing_and_keeps_what_staff_changed(shop: Shop, seen: dict[str, Any]) -> None:
    change = "from example_project.shop.models import Product; Product.objects.filter(sku='dress-01').update(price=1)"
    assert shop.manage("shell", "--no-imports", "-c", change).returncode == 0
    again = shop.manage("demo_load")
    assert again.returncode == 0, again.stderr
    assert "(0 new)" in again.stdout
    now = shop.look()
    assert now["price"] == "1.00"
    assert now["per_category"] == seen["per_category"]
    assert now["pictures"] == 240


def test_login_only_for_a_demo(tmp_path: Path, seen: dict[str, Any]) -> None:
    assert seen["admins"] == ["admin"]
    live = Shop(tmp_path)
    assert live.manage("migrate", "--verbosity=0").returncode == 0
    done = live.manage("demo_load", SHOPGEN_DEMO_DEBUG="0")
    assert done.returncode == 0, done.stderr
    assert live.look()["admins"] == []


def test_settings_are_short_and_pass_the_checks(shop: Shop) -> None:
    tree = ast.parse((ROOT / "example_project" / "settings.py").read_text(encoding="utf-8"))
    lines = {
        node.targets[0].id: (node.end_lineno or 0) - node.lineno + 1
        for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert lines["SHOPGEN"] + lines["Q_CLUSTER"] < 30
    done = shop.manage("check", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_the_shops_own_app_gets_no_migration_and_no_import_of_ours() -> None:
    for path in (ROOT / "example_project" / "shop").rglob("*.py"):
        assert "import shopgen" not in (text := path.read_text(encoding="utf-8"))
        assert "from shopgen" not in text
