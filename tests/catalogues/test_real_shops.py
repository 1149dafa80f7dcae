"""Runs the tests inside the real Oscar and Wagtail shops, each in a process of its own with its own settings."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import PrivatePostgres, postgres_server

__all__ = ["postgres_server"]
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def require(package: str) -> None:
    """Skip on a developer's machine without the package; fail in CI, where it has to be there."""
    if importlib.util.find_spec(package) is not None:
        return
    text = f"{package} is not installed: pip install shopgen-django[{package}]"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def run_inside(shop: str, *options: str, tmp_path: Path, postgres: str = "") -> str:
    """The output of pytest inside the shop, which has to pass and to have run tests; on SQLite or ``postgres``."""
    project = f"tests.catalogues.{shop}_project"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": f"{project}.settings", "OMP_NUM_THREADS": "1"}
    environment["SHOPGEN_TEST_POSTGRES"] = postgres
    environment.pop("PYTEST_ADDOPTS", None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(HERE / f"{shop}_project" / "checks.py"),
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--ds={project}.settings", f"--basetemp={tmp_path / 'inside'}", *options]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540, check=False)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output[-6000:]
    passed = re.search(r"(\d+) passed", output)
    assert passed and int(passed[1]) > 20, output[-2000:]
    assert "skipped" not in output.splitlines()[-1], output[-2000:]
    return output


def manage(shop: str, *arguments: str) -> str:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": f"tests.catalogues.{shop}_project.settings"}
    command = [sys.executable, "-m", "django", *arguments, "--pythonpath", str(ROOT)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    return run.stdout


def test_oscar_keeps_the_contract_and_shows_what_is_published(tmp_path: Path) -> None:
    require("oscar")
    # Oscar's migrations take a minute; tables straight from its models are the same ones.
    run_inside("oscar", "--nomigrations", tmp_path=tmp_path)


@pytest.mark.integration
@pytest.mark.postgres
@pytest.mark.parametrize(("shop", "options"), [("oscar", ["--nomigrations"]), ("wagtail", [])])
def test_the_shops_keep_the_contract_on_postgresql(
    shop: str, options: list[str], postgres_server: PrivatePostgres, tmp_path: Path
) -> None:
    require(shop)
    run_inside(shop, *options, tmp_path=tmp_path, postgres=postgres_server.create_database(f"{shop}_shop"))


@pytest.mark.slow
def test_wagtail_keeps_the_contract_and_its_editors_drafts(tmp_path: Path) -> None:
    require("wagtail")
    run_inside("wagtail", tmp_path=tmp_path)


@pytest.mark.parametrize(("shop", "apps"), [("oscar", ["catalogue"]), ("wagtail", ["shop"])])
def test_the_shops_own_apps_get_no_migration(shop: str, apps: list[str]) -> None:
    require(shop)
    assert "No changes detected" in manage(shop, "makemigrations", *apps, "--check", "--dry-run")
    plan = manage(shop, "showmigrations", "--plan")
    ours = re.findall(r"\[.\]\s+(\S+)\.\S+", plan)
    assert "shopgen" in ours
    assert "no issues" in manage(shop, "check")


@pytest.mark.parametrize("shop", ["oscar", "wagtail"])
def test_installing_takes_fewer_than_thirty_lines_of_settings(shop: str) -> None:
    text = (HERE / f"{shop}_project" / "settings.py").read_text(encoding="utf-8")
    added = text.split("# What shopgen adds\n")[1].strip().splitlines()
    apps = ["rest_framework", "django_filters", "drf_spectacular", "django_q", "shopgen_django"]
    assert all(f'"{app}"' in text for app in apps)
    assert len(added) + len(apps) < 30
