"""``fit`` through the job engine: results lie there, and what was generated stays marked as generated."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from shopgen_django.imaging.provenance import read_provenance
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, JobState, ProductImage
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [("trainedAlgorithmicMedia", "trainedAlgorithmicMedia"), ("digitalCapture", "algorithmicallyEnhanced")],
)
def test_a_job_fits_a_picture_and_keeps_its_mark(origin: str, wanted: str) -> None:
    source = make_image("approved", digital_source=origin)
    user = make_user("maker", "submit_job", "view_productimage")
    job, _ = submit_job(
        operation="fit", params={"sizes": ["thumbnail_400", "story_1080x1920"]}, inputs=[source], user=user
    )
    assert run_job(job.pk) == "succeeded", Job.objects.get(pk=job.pk).error_detail
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    results = ProductImage.objects.filter(job=job).order_by("index")
    assert [(result.width, result.height) for result in results] == [(400, 400), (1080, 1920)]
    for result in results:
        with result.file.open("rb") as file:
            content = file.read()
        with Image.open(BytesIO(content)) as picture:
            assert picture.size == (result.width, result.height)
        facts = read_provenance(content)
        assert facts["digital_source_type"].rpartition("/")[2] == result.digital_source == wanted
        assert facts["software"].startswith("shopgen-django ")
        assert facts["operation"] == "fit"
        assert list(result.parents.all()) == [source]
        assert result.measurements.get(name="sharpness").value > 0
