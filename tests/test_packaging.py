"""The wheel: everything that the app needs at run time, nothing else."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from shopgen_django import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "shopgen_django"
DATA_FOLDERS = ("templates", "static", "locale", "migrations")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_bytes(wheel.read(f"shopgen_django-{__version__}.dist-info/METADATA"))


def test_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    wanted = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted <= set(wheel.namelist())


@pytest.mark.parametrize("folder", DATA_FOLDERS)
def test_holds_what_is_no_code(wheel: zipfile.ZipFile, folder: str) -> None:
    assert any(name.startswith(f"shopgen_django/{folder}/") for name in wheel.namelist())


def test_is_typed(wheel: zipfile.ZipFile) -> None:
    assert "shopgen_django/py.typed" in wheel.namelist()


def test_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"shopgen_django", f"shopgen_django-{__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".sqlite3"))]


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "shopgen-django"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    lines = metadata.get_all("Requires-Dist", [])
    needed = {line.split(";")[0].split(">")[0] for line in lines if "extra ==" not in line}
    assert needed == {
        "django", "djangorestframework", "django-q2", "torch", "pillow", "numpy", "safetensors",
        "opencv-python-headless", "drf-spectacular", "django-filter",
    }
    assert set(metadata.get_all("Provides-Extra", [])) >= {"oscar", "wagtail", "postgres"}


def test_pins_cover_every_dependency(metadata: Message) -> None:
    """``make demo`` must not pick versions of its own on the day that somebody runs it."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    names = {line.split("==")[0] for line in pins if "==" in line}
    for line in metadata.get_all("Requires-Dist", []):
        name = re.split(r"[;<>=!~\[ ]", line)[0]
        assert name.lower().replace("_", "-") in names, name
