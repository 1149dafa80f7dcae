"""What holds whatever the host project's settings say, and what the web process never loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.api.conftest import BASE

ROOT = Path(__file__).resolve().parents[2]

CARELESS_HOST = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
from django.conf import settings
import tests.settings as chosen
chosen.REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "rest_framework.views.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": [],
    "DEFAULT_FILTER_BACKENDS": [],
    "DATETIME_FORMAT": "%d.%m.%Y",
    "PAGE_SIZE": 3,
    "STRICT_JSON": False,
    "COMPACT_JSON": False,
    "UNAUTHENTICATED_USER": None,
    "NON_FIELD_ERRORS_KEY": "oops",
}
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.test import Client
from shopgen_django.api import openapi
from shopgen_django.models import Job
from tests.factories import make_user
import base64
make_user("anna", "submit_job", "view_job")
Job.objects.create(operation="generate")
client = Client()
url = "/shopgen/api/v1/jobs/"
answer = client.get(url)
assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated"), answer.content
assert answer.headers["WWW-Authenticate"].startswith("Basic")
signed = {"authorization": "Basic " + base64.b64encode(b"anna:secret").decode()}
answer = client.get(url, headers=signed)
assert set(answer.json()) == {"next", "previous", "results"}, answer.content
assert answer.json()["results"][0]["created_at"].endswith("Z"), answer.content
assert b": " not in answer.content[:40], answer.content[:40]
assert answer.headers["RateLimit-Limit"] == "6000"
answer = client.get(url, headers={**signed, "accept": "text/html"})
assert answer.status_code == 406 and set(answer.json()["error"]) == {"code", "message", "fields"}, answer.content
answer = client.post(url, '{"operation": NaN}', content_type="application/json", headers=signed)
assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_request")
body = '{"operation": "generate", "images": [], "products": [1]}'
answer = client.post(url + "batch/", body, content_type="application/json", headers=signed)
assert answer.status_code == 400 and "oops" not in answer.json()["error"]["fields"], answer.content
answer = client.get("/shopgen/api/v1/schema/", headers=signed)
assert answer.status_code == 200, answer.content
assert not openapi.warnings()
print("fine")
"""


def run(code: str, tmp_path: Path, **environment: str) -> str:
    import os

    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "SHOPGEN_TEST_DIR": str(tmp_path), "SHOPGEN_TEST_POSTGRES": "", **environment},
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.strip()


def test_a_careless_host_project_opens_nothing(tmp_path: Path) -> None:
    assert run(CARELESS_HOST, tmp_path) == "fine"


def test_the_web_process_loads_no_heavy_library(tmp_path: Path) -> None:
    code = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from django.urls import get_resolver
get_resolver().url_patterns
import shopgen_django.api.urls
heavy = {"torch", "cv2", "diffusers", "transformers", "onnxruntime", "drf_spectacular.openapi", "jsonschema"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(code, tmp_path) == "[]"


def test_an_upload_loads_no_heavy_library_either(tmp_path: Path) -> None:
    code = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from tests.factories import make_user, picture_bytes
client = Client()
client.force_login(make_user("anna", "add_productimage"))
answer = client.post("/shopgen/api/v1/images/", {"file": SimpleUploadedFile("a.png", picture_bytes())})
assert answer.status_code == 202, answer.content
print(sorted({"torch", "cv2", "numpy"} & set(sys.modules)))
"""
    assert run(code, tmp_path) == "[]"


def test_nothing_of_ours_switches_the_csrf_check_off() -> None:
    for path in (ROOT / "shopgen_django").rglob("*.py"):
        assert "csrf_exempt" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", ["jobs/", "images/", "operations/", "schema/", "nothing/"])
def test_headers_of_every_answer(staff: APIClient, path: str) -> None:
    for client in (staff, APIClient()):
        answer = client.get(f"{BASE}/{path}")
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert {"Cookie", "Authorization"} <= set(answer.headers["Vary"].replace(" ", "").split(","))
        assert answer.headers["X-Request-ID"]


def test_get_changes_nothing(staff: APIClient, model: Any) -> None:
    from shopgen_django.models import Job

    job = Job.objects.create(operation="generate")
    for verb in ("cancel", "retry"):
        assert staff.get(f"{BASE}/jobs/{job.pk}/{verb}/").status_code == 405
    job.refresh_from_db()
    assert job.state == "queued"
