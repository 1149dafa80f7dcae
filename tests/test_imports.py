"""The shop's web process stays light: what it imports after setup, and after serving the admin's pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "cv2", "numpy", "diffusers", "transformers", "onnxruntime", "safetensors", "torchvision")

START = f"""
import sys
import django
django.setup()
from django.contrib import admin
from django.core.checks import run_checks
from django.urls import get_resolver

def loaded():
    return ",".join(name for name in {HEAVY!r} if name in sys.modules)

admin.autodiscover()
get_resolver().url_patterns, get_resolver().reverse_dict
run_checks()
print("start:", loaded())
"""

PAGES = """
from django.core.management import call_command
call_command("migrate", verbosity=0, run_syncdb=True)
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
client = Client()
client.force_login(get_user_model().objects.create_superuser("boss", password="secret"))
from tests.factories import make_image
image = make_image("in_review")
addresses = ["admin:index", "admin:shopgen_productimage_changelist", "admin:shopgen_review_changelist",
             "admin:shopgen_review_grid", "admin:shopgen_job_changelist", "admin:shopgen_job_queue",
             "admin:shopgen_products", "admin:shopgen_trainingrun_changelist", "admin:shopgen_trainingrun_add",
             "admin:shopgen_preset_changelist", "admin:shopgen_modelversion_changelist",
             "admin:shopgen_budgets"]
pages = [reverse(address) for address in addresses]
pages += [reverse("admin:shopgen_productimage_change", args=[image.pk]),
          reverse("admin:shopgen_productimage_picture", args=[image.pk, "small", image.sha256[:16]])]
for page in pages:
    assert client.get(page, headers={"host": "localhost"}).status_code == 200, page
print("pages:", loaded())
"""


def run(script: str, settings_module: str, folder: Path) -> str:
    env = {
        **os.environ, "DJANGO_SETTINGS_MODULE": settings_module, "SHOPGEN_DEMO_VAR": str(folder),
        "SHOPGEN_TEST_DIR": str(folder),
    }
    env.pop("SHOPGEN_TEST_POSTGRES", None)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("settings_module", ["tests.settings", "example_project.settings"])
def test_start_loads_nothing_heavy(settings_module: str, tmp_path: Path) -> None:
    """After setup, autodiscovery of the admin, the URLconf and the system checks."""
    assert run(START, settings_module, tmp_path).splitlines() == ["start: "]


def test_admin_pages_load_nothing_heavy(tmp_path: Path) -> None:
    """Not even numpy: lists, desk, queue page and thumbnails are made with Pillow alone."""
    assert run(START + PAGES, "tests.settings", tmp_path).splitlines() == ["start: ", "pages: "]


def test_who_does_the_work_is_told_without_the_libraries_that_do_it() -> None:
    """``Engine.identity``: asked before any worker process begins."""
    script = (
        "import sys, django; django.setup()\n"
        "from shopgen_django.engines import get_engine\n"
        "print([get_engine(alias).identity() for alias in ('cutout', 'denoise', 'enlarge', 'repair')])\n"
        "print([name for name in ('torch', 'cv2', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}, cwd=ROOT,
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    names, heavy = done.stdout.splitlines()
    assert names.count("shipped ") == 3 and heavy == "[]"


def test_a_network_of_the_shops_own_is_looked_at_without_numpy(tmp_path: Path) -> None:
    """System checks, identities and what ``describe`` offers read its card alone."""
    folder = tmp_path / "shopgen" / "models" / "judge"
    folder.mkdir(parents=True)
    labels = {"width": 16, "height": 16, "labels": ["a", "b"]}
    (folder / "model.json").write_text(json.dumps({"sha256": "0" * 64, "purpose": "safety", "labels": labels}))
    script = (
        "import sys, django\n"
        "from django.conf import settings\n"
        "options = {'OPTIONS': {'MODEL': 'judge'}}\n"
        "tags = {'BACKEND': 'shopgen_django.engines.onnx_tags.OnnxTags', **options}\n"
        "settings.SHOPGEN = {**settings.SHOPGEN, 'ENGINES': {'safety': options, 'tags': tags}}\n"
        "django.setup()\n"
        "from django.core.checks import run_checks\n"
        "from shopgen_django.engines import get_engine\n"
        "run_checks(tags=['shopgen'])\n"
        "print(get_engine('safety').identity(), get_engine('tags').describe().name)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, text=True, capture_output=True, check=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "SHOPGEN_TEST_DIR": str(tmp_path)},
    )  # fmt: skip
    who, heavy = done.stdout.splitlines()
    assert who.startswith("judge 000000000000 ") and who.endswith(" judge") and heavy == "[]"
