"""Large models over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, SuppliedModel
from tests.api.conftest import BASE
from tests.diffusion.test_folder import UNET, flip
from tests.factories import make_user

from .conftest import LICENCE, SOURCE

pytestmark = pytest.mark.django_db
MODELS = f"{BASE}/large-models/"
BODY: dict[str, Any] = {
    "path": "tiny-sd", "name": "house", "licence": LICENCE, "commercial": True, "source": SOURCE, "base": "SD 1.5"
}


@pytest.fixture
def staff(boss: Any) -> APIClient:
    client = APIClient()
    client.force_login(boss)
    return client


def last_job() -> Job:
    job = Job.objects.order_by("-created_at").first()
    assert job is not None
    run_job(job.pk)
    return job


def test_added_verified_and_removed(staff: APIClient, incoming: Path, root: Path) -> None:
    answer = staff.post(MODELS, BODY, format="json")
    assert answer.status_code == 202, answer.content
    asked = answer.json()
    assert (asked["verb"], asked["state"], asked["asked_by"]) == ("add", "queued", "boss")
    assert answer["Location"] == asked["status_url"] and staff.get(asked["url"]).status_code == 404
    assert staff.post(MODELS, BODY, format="json").json() == asked
    shown = staff.get(asked["status_url"]).json()
    assert shown["params"]["name"] == "house" and "tiny-sd" not in str(shown)
    last_job()
    read = staff.get(asked["url"])
    model = read.json()
    assert (model["state"], model["kind"], model["licence"]) == ("whole", "Stable Diffusion 1 or 2", LICENCE)
    assert (model["base"], model["commercial"], model["checked_by"]) == ("SD 1.5", True, "boss")
    assert "create" in model["operations"] and model["request"] is None
    assert str(root) not in read.content.decode(), "where its files lie is not told"
    assert staff.get(asked["url"], headers={"if-none-match": read["ETag"]}).status_code == 304
    flip(incoming / UNET)
    assert staff.post(f"{MODELS}house/verify/").status_code == 202
    assert staff.get(asked["url"]).json()["request"]["verb"] == "verify"
    last_job()
    model = staff.get(asked["url"]).json()
    assert model["state"] == "bad" and "unet/diffusion_pytorch_model.safetensors" in model["fault"]
    assert staff.delete(asked["url"]).status_code == 202
    last_job()
    assert staff.get(asked["url"]).status_code == 404 and (incoming / UNET).is_file()


def test_the_list_holds_what_ships(staff: APIClient) -> None:
    SuppliedModel.objects.create(name="far", kind="Flux", licence="Apache-2.0", commercial=True, host="gpu-1")
    answer = staff.get(MODELS).json()
    assert [model["name"] for model in answer["results"]][:2] == ["far", "cutout"]
    assert answer["results"][0]["seen_on"] == "gpu-1" and answer["results"][1]["ships"]
    assert staff.delete(f"{MODELS}cutout/").json()["error"]["code"] == "invalid_state"
    assert staff.post(f"{MODELS}none/verify/").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"path": "/etc"}, 400, "invalid_parameters", "path"),
        ({"path": "x.ckpt"}, 400, "unsafe_file", "path"),
        ({"commercial": False}, 409, "licence_refused", ""),
        ({"licence": "CC-BY-NC-4.0"}, 400, "invalid_parameters", "commercial"),
        ({"commercial": "yes"}, 400, "invalid_parameters", "commercial"),
        ({"name": "Big!"}, 400, "invalid_parameters", "name"),
        ({"folder": "x"}, 400, "invalid_parameters", "folder"),
        ({"source": ""}, 400, "invalid_parameters", "source"),
    ],
)
def test_what_is_wrong_is_said_under_its_name(
    staff: APIClient, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = staff.post(MODELS, {**BODY, **change}, format="json")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.content
    assert not field or field in error["fields"]
    assert not Job.objects.exists()


def test_another_s_request_is_seen_and_not_doubled(staff: APIClient, incoming: Path) -> None:
    first = staff.post(MODELS, BODY, format="json").json()
    other = APIClient()
    other.force_login(make_user("other", "add_suppliedmodel"))
    second = other.post(MODELS, BODY, format="json")
    assert second.status_code == 202 and second.json()["status_url"] == first["status_url"]
    assert second.json()["asked_by"] == "boss" and Job.objects.count() == 1
    assert other.get(first["status_url"]).status_code == 404, "the job is somebody else's"
