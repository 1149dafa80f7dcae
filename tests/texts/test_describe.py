"""The operation, from the request to texts that wait to be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from shopgen_django.exceptions import InvalidParameters, ModelUnavailable, NotAllowed
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, JobState, ProductImage, TextState, TextSuggestion
from shopgen_django.operations.chains import suits_chain
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.previews import submit_preview
from shopgen_django.services.submit import plan_job, submit_job
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Category, Product

from .conftest import picture

pytestmark = pytest.mark.django_db(transaction=True)
Use = Callable[..., None]


def photo(**fields: Any) -> ProductImage:
    from io import BytesIO

    buffer = BytesIO()
    picture().save(buffer, "PNG")
    return make_image(kind="source", content=buffer.getvalue(), **fields)


def product_photo(title: str = "shirt") -> ProductImage:
    product = Product.objects.create(name=title, category=Category.objects.create(name="Shirts"))
    product.image.save("photo.png", ContentFile(picture_bytes()))
    return photo(catalogue="default", object_pk=str(product.pk), product_label=title)


def test_a_photo_becomes_texts_that_wait_to_be_read(use: Use, llava: Path) -> None:
    """The words that it was taught hold no product facts but the title, so the photo has no shop's product here."""
    use(text={"OPTIONS": {"MODEL": str(llava)}})
    image = photo(product_label="shirt")
    user = make_user("mia", "submit_job")
    job, _new = submit_job(
        operation="describe", params={"kinds": ["title", "alt_text"], "language": "en"}, inputs=[image], user=user
    )
    assert run_job(job.pk) == "succeeded"
    texts = {text.kind: text for text in TextSuggestion.objects.all()}
    assert {kind: text.text for kind, text in texts.items()} == {
        "title": "Red shirt", "alt_text": "A red shirt on a table"
    }
    title = texts["title"]
    assert (title.state, title.image, title.created_by, title.language) == (TextState.IN_REVIEW, image, user, "en")
    assert title.proposed == title.text and title.doubts == []
    assert title.facts["model"] == "tiny-llava" and len(title.facts["model_sha256"]) == 64
    assert ProductImage.objects.count() == 1, "no picture comes out"


def test_a_product_lends_its_facts_and_its_deletion_leaves_a_tombstone(use: Use, blip: Path) -> None:
    use(text={"OPTIONS": {"MODEL": str(blip)}})
    image = product_photo()
    job, _new = submit_job(operation="describe", params={}, inputs=[image])
    assert run_job(job.pk) == "succeeded", Job.objects.get().error_detail
    text = TextSuggestion.objects.get()
    assert (text.kind, text.catalogue, text.object_pk) == ("alt_text", "default", image.object_pk)
    Product.objects.all().delete()
    text.refresh_from_db()
    assert text.product_deleted_at is not None and not text.has_product


def test_tags_come_from_the_engine_that_chooses_where_tags_are_given(use: Use, blip: Path, clip: Path) -> None:
    use(
        text={"OPTIONS": {"MODEL": str(blip)}},
        tags={"OPTIONS": {"MODEL": str(clip), "MINIMUM": 0.0}},
    )
    job, _new = submit_job(
        operation="describe", params={"tags": "red shirt, blue dress,, red  shirt", "max_tags": 1}, inputs=[photo()]
    )
    assert run_job(job.pk) == "succeeded", Job.objects.get().error_detail
    texts = {text.kind: text for text in TextSuggestion.objects.all()}
    assert set(texts) == {"alt_text", "tags"}
    assert texts["tags"].text in ("red shirt", "blue dress") and texts["tags"].facts["engine"] == "tags"


def test_what_cannot_be_written_is_refused_before_anything_is_queued(use: Use, blip: Path, clip: Path) -> None:
    image = photo()
    with pytest.raises(ModelUnavailable, match="No model is configured"):
        plan_job(operation="describe", inputs=[image])
    use(text={"OPTIONS": {"MODEL": str(blip)}})
    for params, field, told in (
        ({"kinds": ["title"]}, "kinds", "can't write this: Title"),
        ({"language": "zh-hans"}, "language", "writes en only"),
        ({"kinds": ["poem"]}, "kinds", "poem"),
    ):
        with pytest.raises(InvalidParameters) as caught:
            plan_job(operation="describe", params=params, inputs=[image])
        assert told in str(caught.value.fields[field][0])
    use(text={}, tags={"OPTIONS": {"MODEL": str(clip)}})
    with pytest.raises(InvalidParameters, match="chooses among tags"):
        plan_job(operation="describe", params={"kinds": ["tags"]}, inputs=[image])
    assert plan_job(operation="describe", params={"kinds": ["tags"], "tags": "a"}, inputs=[image]).outputs == 1
    assert not Job.objects.exists()


def test_a_model_that_writes_nonsense_fails_by_name_and_leaves_no_text(use: Use, llava: Path) -> None:
    use(text={"OPTIONS": {"MODEL": str(llava)}})
    job, _new = submit_job(operation="describe", params={"kinds": ["description"]}, inputs=[photo()])
    assert run_job(job.pk) == "failed"
    assert Job.objects.get().error_code == "bad_output"
    assert not TextSuggestion.objects.exists()


def no_shirts(prompt: str, operation: str) -> str:
    return "No shirts." if "shirt" in prompt.lower() else ""


def test_the_shops_check_of_words_is_asked_about_made_texts(use: Use, llava: Path, settings: Any) -> None:
    use(text={"OPTIONS": {"MODEL": str(llava)}})
    settings.SHOPGEN = {**settings.SHOPGEN, "SAFETY": {"PROMPT": [f"{__name__}.no_shirts"]}}
    job, _new = submit_job(
        operation="describe", params={"kinds": ["title", "alt_text"]}, inputs=[photo(product_label="shirt")]
    )
    assert run_job(job.pk) == "failed"
    assert Job.objects.get().error_code == "blocked" and not TextSuggestion.objects.exists()


def test_a_cancelled_job_leaves_no_text(use: Use, blip: Path) -> None:
    from shopgen_django.services.jobs import cancel_job

    use(text={"OPTIONS": {"MODEL": str(blip)}})
    job, _new = submit_job(operation="describe", inputs=[photo()])
    engine_module = "shopgen_django.engines.transformers.writing._Asker._generate"
    with pytest.MonkeyPatch.context() as patch:
        def cancels(self: Any, *args: Any, **kwargs: Any) -> str:
            cancel_job(job=Job.objects.get())
            return "a red shirt"

        patch.setattr(engine_module, cancels)
        assert run_job(job.pk) == "cancelled"
    assert Job.objects.get().state == JobState.CANCELLED and not TextSuggestion.objects.exists()


def test_texts_are_no_step_of_a_recipe_and_have_no_preview(use: Use, blip: Path) -> None:
    use(text={"OPTIONS": {"MODEL": str(blip)}})
    assert not suits_chain(get_operation("describe"))
    with pytest.raises(InvalidParameters, match="no preview"):
        submit_preview(operation="describe", params={}, inputs=[photo()], user=make_user("mia", "submit_job"))
    with pytest.raises(NotAllowed):
        submit_job(operation="describe", inputs=[photo()], user=make_user("tom"))
