"""A shop that sets as little as possible: the app, the product model, nothing else. It must get as far as it can, and
be told what is missing for the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import picture_bytes

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "x" * 60
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "store", "shopgen_django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
MEDIA_ROOT = BASE_DIR / "media"
SHOPGEN = {"CATALOGUES": {"default": {"OPTIONS": {"MODEL": "store.Item"}}}}
"""
IMMEDIATE = """
from least import *
SHOPGEN = {**SHOPGEN, "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.immediate.ImmediateQueue"}}
"""
MODELS = """
from django.db import models

class Item(models.Model):
    name = models.CharField(max_length=100)
    image = models.ImageField(upload_to="items", blank=True)
"""
DAY = """
import pathlib
import django
django.setup()
from django.core.files.base import ContentFile
from store.models import Item
from shopgen_django.models import ProductImage
from shopgen_django.services.images import import_from_catalogue
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve
from shopgen_django.services.submit import submit_job

item = Item.objects.create(name="Mug")
item.image.save("mug.png", ContentFile(pathlib.Path("photo.png").read_bytes()))
(photo,) = import_from_catalogue(object_pk=item.pk)
job, _created = submit_job(operation="fit", params={"sizes": ["thumbnail_400"]}, inputs=[photo])
job.refresh_from_db()
assert job.state == "succeeded", (job.state, job.error_code, job.error_detail, job.history)
result = ProductImage.objects.get(job=job)
assert (result.state, result.width, result.height) == ("in_review", 400, 400), result.state
approve(image=result)
publish_image(image=result, user=None)
item.refresh_from_db()
assert item.image.width == 400
withdraw_image(image=result, user=None)
item.refresh_from_db()
assert item.image.name == "items/mug.png", item.image.name
print("published and taken back")
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("least")
    (folder / "least.py").write_text(SETTINGS)
    (folder / "immediate.py").write_text(IMMEDIATE)
    (folder / "store").mkdir()
    (folder / "store" / "__init__.py").write_text("")
    (folder / "store" / "models.py").write_text(MODELS)
    (folder / "photo.png").write_bytes(picture_bytes(width=300, height=200))
    return folder


def run(shop: Path, settings: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "SHOPGEN_", "PYTEST"))
    }
    environment |= {
        "DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": f"{shop}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "default",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=shop, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )


def test_what_is_missing_for_workers_is_told_with_a_hint(shop: Path) -> None:
    done = run(shop, "least", "-m", "django", "check")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output, output
    assert "shopgen.E001" in output and "Q_CLUSTER" in output and "HINT" in output, output
    assert "shopgen.W009" in output, "no admin, no page to review on"


def test_the_shop_itself_gets_no_migrations_and_ours_are_complete(shop: Path) -> None:
    done = run(shop, "immediate", "-m", "django", "makemigrations", "--check", "--dry-run", "shopgen")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_whole_day_with_the_immediate_queue(shop: Path) -> None:
    migrated = run(shop, "immediate", "-m", "django", "migrate", "--run-syncdb", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    checked = run(shop, "immediate", "-m", "django", "check", "--fail-level=ERROR")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "shopgen.W020" in checked.stderr, "jobs inside the web request are worth a warning"
    done = run(shop, "immediate", "-c", DAY)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "published and taken back" in done.stdout
    assert "Traceback" not in output, output


def test_deploy_checks_say_nothing_of_ours_that_is_not_so(shop: Path) -> None:
    done = run(shop, "immediate", "-m", "django", "check", "--deploy", "--fail-level=ERROR")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    ours = {line.split(")")[0].rpartition("(")[2] for line in output.splitlines() if "(shopgen." in line}
    assert ours == {"shopgen.W009", "shopgen.W020"}, output
