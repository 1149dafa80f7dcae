"""The commands of docs/http.md, run with curl against a live server."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ImageState, Job, ProductImage, Publication
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Category, Product

PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.md"
CURL = shutil.which("curl")


def blocks() -> list[str]:
    """The shell commands, in order."""
    return re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.django_db(transaction=True)
def test_the_commands_of_the_docs_work(live_server: Any, model: Any, tmp_path: Path) -> None:
    make_user("admin", is_superuser=True)
    hats = Category.objects.create(name="Hat")
    for pk in (1, 2, 12):
        Product.objects.create(pk=pk, name=f"Hat {pk}", category=hats)
    (tmp_path / "shirt.jpg").write_bytes(picture_bytes("JPEG"))
    photo = make_image(kind="source", catalogue="default", object_pk="12")
    known = {"PHOTO": str(photo.pk)}
    outputs = []
    for block in blocks():
        code = block.replace("http://127.0.0.1:8000", live_server.url).replace("admin:admin", "admin:secret")
        for name, value in known.items():
            code = re.sub(rf"^{name}=.*$", f"{name}={value}", code, flags=re.MULTILINE)
        api = f"api() {{ curl -sS -u admin:secret \"$@\"; echo; }}\nAPI={live_server.url}/shopgen/api/v1\n"
        values = "".join(f"{name}={value}\n" for name, value in known.items())
        code = re.sub(r"^alias .*$", "", code, flags=re.MULTILINE)
        run = subprocess.run(
            ["bash", "-euc", api + values + code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout)
        job = Job.objects.filter(idempotency_key="spring-hats-1").first()
        if job is not None and "JOB" not in known:
            made = make_image(ImageState.IN_REVIEW, job=job, catalogue="default", object_pk="12")
            known |= {"JOB": str(job.pk), "IMAGE": str(made.pk)}
    everything = "\n".join(outputs)
    # The one mistake that the page makes on purpose.
    assert re.findall(r'"error":\{"code":"(\w+)"', everything) == ["invalid_parameters"]
    assert "202 Accepted" in everything
    assert (tmp_path / "hat.png").read_bytes().startswith(b"\x89PNG")
    assert Publication.objects.get().withdraw_outcome == "restored"
    sent = Job.objects.get(operation="upload")
    assert sent.object_pk == "12" and run_job(sent.pk) == "succeeded"
    assert ProductImage.objects.sources().exclude(pk=photo.pk).get().object_pk == "12"
    assert Job.objects.get(operation="import_photos").params == {"category": "Hat", "search": ""}
    assert list(Job.objects.get(operation="fit", batch=None).inputs.all()) == [photo]
    assert Job.objects.filter(batch__isnull=False, operation="generate").count() == 2
    assert '"count":3' in everything, "the rehearsal counts the three hats"


def test_every_code_is_documented() -> None:
    """Codes that the code of this package raises over HTTP stand on the page."""
    page = PAGE.read_text(encoding="utf-8")
    from shopgen_django import exceptions
    from shopgen_django.api.errors import STATUS
    from shopgen_django.imaging.intake import ERROR_CODES

    codes = {kind.code for kind, _status in STATUS} - {"permanent_error", "transient_error", "error"}
    codes |= set(ERROR_CODES) | {exceptions.ProductNotFound.code}
    for path in (PAGE.parents[1] / "shopgen_django" / "api").rglob("*.py"):
        codes |= set(re.findall(r'ApiError\(\s*\d+, "(\w+)"', path.read_text(encoding="utf-8")))
        codes |= set(re.findall(r'drf\.\w+, "(\w+)"\)', path.read_text(encoding="utf-8")))
    assert len(codes) > 30
    missing = sorted(code for code in codes if f"`{code}`" not in page)
    assert missing == []
