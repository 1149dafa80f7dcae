"""A reference picture as a parameter: refused where it can't be, kept and named by the job, never somebody's photo."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import ProtectedError
from django.test import Client
from django.urls import reverse
from PIL import Image

from shopgen_django.exceptions import InvalidParameters, ModelUnavailable
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage, Recipe
from shopgen_django.models.choices import JobState
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.batch import BatchItem, plan_batch
from shopgen_django.services.large_models import add_model, find_model, verify_model
from shopgen_django.services.previews import preview_content, submit_preview
from shopgen_django.services.submit import submit_job
from shopgen_django.storage import read_image
from tests.diffusion import tiny
from tests.diffusion.test_jobs import STROKE
from tests.factories import make_image, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def adapter(sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_adapter(tmp_path_factory.mktemp("references") / "adapter", sd)


def queue(operation: str = "create", *, inputs: Any = (), user: Any = None, **params: Any) -> Job:
    given = {"prompt": "a shirt", "steps": 2, "seed": 5, **params}
    return submit_job(operation=operation, params=given, inputs=inputs, user=user)[0]


def result_of(job: Job) -> ProductImage:
    run_job(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED, job.error_detail
    return ProductImage.objects.get(job=job)


def seen(image: ProductImage) -> bytes:
    return Image.open(io.BytesIO(read_image(image))).tobytes()


MORE: dict[str, dict[str, Any]] = {
    "create": {}, "restyle": {}, "inpaint": {"strokes": [STROKE]}, "scene": {"sure": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("operation", list(MORE))
def test_it_changes_what_is_made_and_is_a_parent(
    sd: Path, adapter: Path, use: Callable[..., None], operation: str
) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    source, reference = make_image("approved"), make_image("approved", colour="#ee7711")
    inputs = [] if operation == "create" else [source]
    more = MORE[operation]
    plain = result_of(queue(operation, inputs=inputs, **more))
    job = queue(operation, inputs=inputs, reference=str(reference.pk), **more)
    held = result_of(job)
    nothing = result_of(
        queue(operation, inputs=inputs, reference=str(reference.pk), reference_weight=0, **more)
    )
    assert seen(plain) == seen(nothing) != seen(held)
    assert set(held.parents.all()) == {*inputs, reference} and list(plain.parents.all()) == inputs
    made = held.params["made_with"]
    assert made["reference_sha256"] == reference.sha256 and made["reference"] == "0.6"
    assert len(made["ip_adapter_sha256"]) == 64 and "reference" not in nothing.params["made_with"]
    assert [row.image for row in job.job_inputs.order_by("position")] == [*inputs, reference]
    with pytest.raises(ProtectedError):
        reference.delete()


def test_a_picture_may_be_its_own_reference(sd: Path, adapter: Path, use: Callable[..., None]) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    source = make_image("approved")
    held = result_of(queue("restyle", inputs=[source], reference=str(source.pk)))
    assert list(held.parents.all()) == [source] and held.params["made_with"]["reference_sha256"] == source.sha256


def test_what_can_not_be_a_reference_is_refused_when_it_is_queued(
    sd: Path, adapter: Path, use: Callable[..., None]
) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    person = make_image("approved", personal=True)
    cut = make_image("approved", colour="#777777")
    cut.parents.add(person)
    theirs = make_image("approved", colour="#113355")
    alone = make_user("alone", "submit_job")
    for image, user, words in (
        (person, None, "person"), (cut, None, "person"), (make_image("rejected"), None, "rejected"),
        (theirs, alone, "no picture"),
    ):
        with pytest.raises(InvalidParameters, match=words) as caught:
            queue(reference=str(image.pk), user=user)
        assert list(caught.value.fields) == ["reference"]
    for key in ("7", str(uuid.uuid4())):
        with pytest.raises(InvalidParameters) as caught:
            queue(reference=key)
        assert list(caught.value.fields) == ["reference"]
    with pytest.raises(InvalidParameters):
        plan_batch(operation="create", params={"reference": str(person.pk)}, items=[BatchItem(name="a")])
    assert not Job.objects.exists()


def test_an_engine_without_an_adapter_refuses_it_in_words(sd: Path, use: Callable[..., None]) -> None:
    reference = make_image("approved")
    use(MODEL=str(sd))
    with pytest.raises(InvalidParameters, match="REFERENCES") as caught:
        queue(reference=str(reference.pk))
    assert list(caught.value.fields) == ["reference"]
    assert queue(reference=str(reference.pk), reference_weight=0), "at weight 0 none is needed"
    use(MODEL=str(sd), REFERENCES="lost")
    with pytest.raises(InvalidParameters, match="lost"):
        queue(reference=str(reference.pk))
    use()
    with pytest.raises(ModelUnavailable):
        queue(reference=str(reference.pk))


def test_in_a_recipe_and_in_a_preview(sd: Path, adapter: Path, use: Callable[..., None]) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    source, reference = make_image("approved"), make_image("approved", colour="#ee7711")
    step = {"prompt": "a shirt", "steps": 2, "seed": 5, "reference": str(reference.pk)}
    job, _new = submit_job(operation="recipe", inputs=[source], params={"recipe": "own", "steps": [
        {"operation": "restyle", "params": {**step, "reference": ""}}, {"operation": "restyle", "params": step},
    ]})  # fmt: skip
    run_job(job.pk)
    first, last = ProductImage.objects.filter(job=job).order_by("index")
    assert list(first.parents.all()) == [source] and set(last.parents.all()) == {first, reference}
    assert last.params["made_with"]["reference_sha256"] == reference.sha256
    boss = make_user("boss", "submit_job", "view_productimage")
    shown = []
    for params in (step, {**step, "reference": ""}):
        preview = submit_preview(operation="restyle", params=params, inputs=[source], user=boss)
        run_job(preview.pk)
        shown.append(preview_content(Job.objects.get(pk=preview.pk)))
    assert shown[0] != shown[1]


def test_files_that_are_worked_on_without_the_shop_have_none(
    sd: Path, adapter: Path, use: Callable[..., None]
) -> None:
    from shopgen_django.operations.chains import parse_steps
    from shopgen_django.services.editing import edit_picture
    from tests.factories import picture_bytes

    use(MODEL=str(sd), REFERENCES=str(adapter))
    steps = parse_steps([{"operation": "restyle", "params": {"reference": str(uuid.uuid4()), "steps": 2}}])
    with pytest.raises(InvalidParameters, match="not at hand"):
        edit_picture(picture_bytes(), steps)


def test_the_schema_tells_of_it() -> None:
    for name in MORE:
        schema = get_operation(name).Parameters.json_schema()["properties"]
        assert schema["reference"]["type"] == "string" and schema["reference"]["default"] == ""
        assert schema["reference_weight"]["maximum"] == 1


def test_an_adapter_gets_a_name_a_licence_and_hashes(
    sd: Path, adapter: Path, use: Callable[..., None], copy: Callable[[Path], Path]
) -> None:
    folder = copy(adapter)
    added = add_model(
        folder, name="looks", licence="Apache-2.0", commercial=True, source="https://example.org/looks"
    )
    assert added.kind == "IP-Adapter" and added.bytes > 10_000
    found = find_model("looks")
    assert found is not None and found.manifest is not None
    assert "image_encoder/model.safetensors" in found.manifest.files
    verify_model(found)
    use(MODEL=str(sd), REFERENCES="looks")
    held = result_of(queue(reference=str(make_image("approved").pk)))
    assert held.params["made_with"]["ip_adapter_sha256"] == found.manifest.sha256


def test_a_recipes_step_offers_them_as_well(
    sd: Path, adapter: Path, use: Callable[..., None], admin_user: Any
) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    image, desk = make_image("approved", product_label="Wool coat"), Client()
    desk.force_login(admin_user)
    address = reverse("admin:shopgen_recipe_add")
    page = desk.post(address, {"add": "1", "adding": "restyle", "order": ""}).content.decode()
    assert f'<input type="radio" name="s0-reference" value="{image.pk}"' in page
    fields = {name: "" if value is None else value for name, value in get_operation("restyle").Parameters.defaults(
    ).items()}  # fmt: skip
    step = {f"s0-{name}": value for name, value in {**fields, "reference": str(image.pk), "steps": 4}.items()}
    data = {"order": "0", "s0-operation-name": "restyle", "name": "coat-look", "label": "Coat look", **step}
    assert desk.post(address, {**data, "save": "1"}).status_code == 302
    row = Recipe.objects.get(name="coat-look")
    assert row.steps[0]["params"]["reference"] == str(image.pk)
    page = desk.get(reverse("admin:shopgen_recipe_change", args=[row.pk])).content.decode()
    assert f'<input type="radio" name="s0-reference" value="{image.pk}" checked' in page


def test_the_page_offers_pictures_to_choose_from(
    sd: Path, adapter: Path, use: Callable[..., None], admin_user: Any
) -> None:
    use(MODEL=str(sd), REFERENCES=str(adapter))
    source = make_image("approved", product_label="Linen dress", catalogue="default", object_pk="7")
    own = make_image("approved", colour="#aa1111", catalogue="default", object_pk="7", product_label="Linen dress")
    other = make_image("approved", colour="#11aa11", product_label="Wool coat")
    person = make_image("approved", colour="#1111aa", personal=True)
    rejected = make_image("rejected", colour="#333333")
    desk, address = Client(), reverse("admin:shopgen_productimage_run")
    desk.force_login(admin_user)
    fields = {name: "" if value is None else value for name, value in get_operation("restyle").Parameters.defaults(
    ).items()}  # fmt: skip
    data = {"pk": [str(source.pk)], "operation": "restyle", "shown": "restyle"}
    data |= {f"p-{name}": value for name, value in {**fields, "steps": 2, "prompt": "a shirt"}.items()}

    def choice(image: ProductImage) -> str:
        return f'<input type="radio" name="p-reference" value="{image.pk}"'

    page = desk.post(address, data).content.decode()
    assert page.index(choice(own)) < page.index(choice(other))
    assert choice(person) not in page and choice(rejected) not in page
    page = desk.post(address, {**data, "p-reference-find": "wool", "p-reference": str(own.pk), "choose": "1"})
    text = page.content.decode()
    assert f"{choice(own)} checked" in text and choice(other) in text and choice(source) not in text
    assert not Job.objects.exists()
    page = desk.post(address, {**data, "p-reference": str(person.pk), "queue": "1", "token": str(uuid.uuid4())})
    assert "shows a person" in page.content.decode() and not Job.objects.exists()
    answer = desk.post(address, {**data, "p-reference": str(other.pk), "queue": "1", "token": str(uuid.uuid4())})
    assert answer.status_code == 302
    job = Job.objects.get()
    assert job.params["reference"] == str(other.pk)
    held = result_of(job)
    assert hashlib.sha256(read_image(other)).hexdigest() == held.params["made_with"]["reference_sha256"]
