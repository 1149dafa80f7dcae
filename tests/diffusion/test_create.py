"""``create``: from a folder of the shop through a queued job to a picture that waits for a person."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from shopgen_django.exceptions import InvalidParameters
from shopgen_django.imaging.provenance import read_provenance
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage
from shopgen_django.models.choices import ImageState
from shopgen_django.services.submit import plan_job, submit_job
from shopgen_django.storage import read_image
from tests.factories import make_user
from tests.testshop.models import Product


@pytest.mark.django_db(transaction=True)
def test_words_become_a_picture_that_waits_for_a_person(sd: Path, use: Callable[..., None]) -> None:
    use(MODEL=str(sd))
    product = Product.objects.create(name="Red {title} shirt", description="Linen")
    job, new = submit_job(
        operation="create", catalogue="default", object_pk=product.pk, user=make_user("maker", "submit_job"),
        params={"prompt": "{title} on marble , soft light", "steps": 3, "count": 2, "seed": 5},
    )
    assert new and run_job(job.pk) == "succeeded", Job.objects.get(pk=job.pk).error_detail
    first, second = ProductImage.objects.filter(job=job).order_by("index")
    assert first.state == ImageState.IN_REVIEW and first.sha256 != second.sha256
    assert (first.width, first.height) == (64, 64) and first.digital_source == "trainedAlgorithmicMedia"
    content = read_image(first)
    facts = read_provenance(content)
    assert facts["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert facts["prompt"] == "Red {title} shirt on marble, soft light"
    assert facts["steps"] == "3" and facts["scheduler"] == "PNDMScheduler" and "diffusers" in facts["versions"]
    assert len(facts["model_sha256"]) == 64 and facts["seed"] == "5" and facts["picture"] == "0"
    assert first.params["made_with"] == {name: facts[name] for name in first.params["made_with"]}
    assert Image.open(io.BytesIO(content)).size == (64, 64)


@pytest.mark.django_db
def test_without_a_model_the_submission_says_what_to_configure() -> None:
    with pytest.raises(Exception, match=r"SHOPGEN\['ENGINES'\]\['diffusion'\]") as caught:
        plan_job(operation="create")
    assert caught.value.code == "model_unavailable"  # type: ignore[attr-defined]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"width": 65536, "height": 65536}, "width"), ({"width": 68, "height": 64}, "width"),
        ({"width": 4096, "height": 4096}, "width"), ({"width": 64}, "height"), ({"prompt": "{price}"}, "prompt"),
        ({"loras": "a: b"}, "loras"), ({"loras": "a, a"}, "loras"), ({"steps": 0}, "steps"),
        ({"scheduler": "magic"}, "scheduler"), ({"prompt": ""}, "prompt"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    sd: Path, use: Callable[..., None], params: dict[str, object], field: str
) -> None:
    use(MODEL=str(sd))
    with pytest.raises(InvalidParameters) as caught:
        plan_job(operation="create", params=params)
    assert field in caught.value.fields


@pytest.mark.django_db(transaction=True)
def test_over_http(sd: Path, use: Callable[..., None]) -> None:
    from rest_framework.test import APIClient

    from shopgen_django.admin.display import parameter_rows

    client = APIClient()
    client.force_login(make_user("api", "submit_job", "view_job", "view_productimage", is_superuser=True))
    wish = {"operation": "create", "params": {"prompt": "a hat", "steps": 1}}
    answer = client.post("/shopgen/api/v1/jobs/", wish, format="json")
    assert answer.status_code == 409 and answer.json()["error"]["code"] == "model_unavailable"
    assert "MODEL" in answer.json()["error"]["message"]
    use(MODEL=str(sd))
    answer = client.post(
        "/shopgen/api/v1/jobs/", {**wish, "params": {"width": 65536, "height": 65536}}, format="json"
    )
    assert answer.status_code == 400 and "width" in answer.json()["error"]["fields"]
    answer = client.post("/shopgen/api/v1/jobs/", wish, format="json")
    assert answer.status_code == 202 and run_job(answer.json()["id"]) == "succeeded"
    (made,) = client.get("/shopgen/api/v1/images/").json()["results"]
    assert made["params"]["made_with"]["prompt"] == "a hat"
    rows = parameter_rows("create", made["params"])
    assert ("scheduler", "PNDMScheduler") in rows and ("Words", "a hat") in rows and ("prompt", "a hat") not in rows
