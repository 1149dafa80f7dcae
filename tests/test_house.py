"""The house in order: import contracts, migrations, documentation, commands, nothing of one machine in the files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from django.core.management import call_command

from shopgen_django.conf import DEFAULTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "shopgen_django"
BIN = Path(sys.executable).parent
HEAVY = ("torch", "cv2", "diffusers", "transformers", "onnxruntime")


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)  # type: ignore[call-overload]


def test_import_contracts() -> None:
    done = run(str(BIN / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


WEB_PROCESS = f"""
import sys, django
django.setup()
from django.contrib import admin
from django.core.checks import run_checks
from django.urls import get_resolver
admin.autodiscover()
get_resolver().reverse_dict, get_resolver().url_patterns
run_checks()
run_checks(include_deployment_checks=True)
from shopgen_django.operations.registry import all_operations
for operation in all_operations():
    operation.Parameters.json_schema()
print(",".join(name for name in {HEAVY!r} if name in sys.modules))
"""


@pytest.mark.parametrize("settings_module", ["tests.settings", "example_project.settings"])
def test_web_process_loads_nothing_heavy(settings_module: str, tmp_path: Path) -> None:
    """After setup, URLconf, admin, checks and the parameters of every operation, no tensor library is loaded."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": settings_module, "SHOPGEN_DEMO_VAR": str(tmp_path)}
    done = run(sys.executable, "-c", WEB_PROCESS, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


NO_DJANGO = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "rest_framework", "django_q", "django_filters"}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Refuse())
import importlib, pkgutil
for root in ("shopgen_django.ml", "shopgen_django.imaging"):
    package = importlib.import_module(root)
    for found in pkgutil.walk_packages(package.__path__, root + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""


def test_ml_and_imaging_work_without_django() -> None:
    done = run(sys.executable, "-c", NO_DJANGO)
    assert done.returncode == 0, done.stderr


@pytest.mark.django_db
def test_no_missing_migrations() -> None:
    call_command("makemigrations", "shopgen", check=True, dry_run=True, verbosity=0)


def test_no_missing_migrations_in_the_example_shop(tmp_path: Path) -> None:
    done = run(
        sys.executable, "manage.py", "makemigrations", "--check", "--dry-run",
        env={
            **os.environ, "DJANGO_SETTINGS_MODULE": "example_project.settings", "SHOPGEN_DEMO_VAR": str(tmp_path)
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_documentation_builds_strictly(tmp_path: Path) -> None:
    """Dead links, pages outside the navigation and broken anchors are errors (with --quiet they would pass)."""
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = run(sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site"), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


def setting_paths(values: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, Mapping) and value and key not in {"ENGINES", "QUEUE"}:
            yield from setting_paths(value, f"{prefix}{key}.")


@pytest.mark.parametrize("path", list(setting_paths(DEFAULTS)))
def test_every_setting_is_documented(path: str) -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"`{path}`" in text, f"docs/settings.md says nothing about {path}"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    known = set(setting_paths(DEFAULTS))
    documented = set(re.findall(r"^\| `([A-Z_]+(?:\.[A-Z_]+)?)`", text, re.M))
    assert documented <= known, documented - known


def command_names() -> list[str]:
    folder = PACKAGE / "management" / "commands"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_a_test_and_a_page(name: str) -> None:
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(name in path.read_text(encoding="utf-8") for path in tests), f"no test runs {name}"
    pages = list((ROOT / "docs").rglob("*.md"))
    assert any(name in path.read_text(encoding="utf-8") for path in pages), f"no docs page names {name}"


def text_files() -> list[Path]:
    listed = run("git", "ls-files", "-z")
    if listed.returncode:  # unpacked from an archive, without git
        return list(PACKAGE.rglob("*.py"))
    endings = {".py", ".md", ".txt", ".toml", ".yml", ".yaml", ".html", ".js", ".css", ".json", ".po", ".sh", ""}
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in endings and path.is_file()]


MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(?:home|Users|root|work|mnt)/[\w.]")


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = []
    for path in text_files():
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert not found, "\n".join(found)


def test_files_stay_readable() -> None:
    """At most 400 lines a file: what grows beyond that holds more than one idea."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in [*PACKAGE.rglob("*.py"), *(ROOT / "example_project").rglob("*.py")]
        if "migrations" not in path.parts and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
