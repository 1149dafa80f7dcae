"""Previews from the page that queues work: through the queue, on a small copy, kept for nobody."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, JobState, ProductImage
from shopgen_django.services.previews import KEPT, forget_previews
from shopgen_django.storage import private_storage
from tests.factories import make_image, make_user, picture_bytes

from .conftest import as_user

pytestmark = pytest.mark.django_db
ASK = "admin:shopgen_preview"


def picture(size: tuple[int, int] = (1600, 1200), mode: str = "RGB", format_: str = "JPEG") -> ProductImage:
    image = Image.radial_gradient("L").resize(size).convert(mode)
    buffer = BytesIO()
    image.save(buffer, format_)
    return make_image(content=buffer.getvalue(), kind="source")


def ask(client: Client, *images: ProductImage, operation: str = "denoise", **settings: Any) -> Any:
    data = {"operation": operation, "pk": [str(image.pk) for image in images]}
    return client.post(reverse(ASK), {**data, **{f"p-{name}": value for name, value in settings.items()}})



def defaults(operation: str) -> dict[str, Any]:
    from shopgen_django.operations.registry import get_operation

    form: Any = get_operation(operation).Parameters()
    values = {name: field.initial for name, field in form.fields.items()}
    shown = {name: value for name, value in values.items() if value is not None and value is not False}
    return {name: "on" if value is True else value for name, value in shown.items()}


def test_asked_for_made_shown_and_forgotten(desk: Client, boss: Any) -> None:
    source = picture()
    answer = ask(desk, source, operation="fit", **defaults("fit"))
    assert answer.status_code == 202, answer.content
    url = answer.json()["url"]
    waiting = desk.get(url).json()
    assert (waiting["active"] and "No worker" in str(waiting["warnings"])) or waiting["note"]
    job = Job.objects.get()
    assert (job.operation, job.priority, job.created_by) == ("preview", 100, boss)
    assert run_job(job.pk) == "succeeded"
    told = desk.get(url).json()
    assert (told["state"], told["active"], told["held_back"]) == ("succeeded", False, "")
    shown = Image.open(BytesIO(desk.get(told["picture"]).content))
    assert shown.format == "WEBP" and max(shown.size) <= 1000
    assert ProductImage.objects.get() == source, "nothing of it is a picture of the shop"
    name = Job.objects.get().params["place"]
    assert private_storage().exists(name)
    assert forget_previews() == 0
    Job.objects.update(created_at=timezone.now() - 2 * KEPT)
    assert forget_previews() == 1
    assert not private_storage().exists(name) and not Job.objects.exists()
    assert desk.get(url).status_code == 404


@pytest.mark.parametrize(
    ("mode", "format_"), [("RGB", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG")]
)
def test_a_small_copy_of_every_kind_of_file(desk: Client, mode: str, format_: str, monkeypatch: Any) -> None:
    from shopgen_django.operations.fit import Fit

    seen: list[Any] = []
    run = Fit.run

    def spy(self: Any, context: Any) -> Any:
        seen.extend(context.inputs)
        return run(self, context)

    monkeypatch.setattr(Fit, "run", spy)
    ask(desk, picture(mode=mode, format_=format_), operation="fit", **defaults("fit"))
    assert run_job(Job.objects.get().pk) == "succeeded"
    assert (seen[0].width, seen[0].height) == seen[0].open().size == (640, 480)


def test_a_newer_wish_cancels_the_older(desk: Client) -> None:
    source = picture()
    for _time in range(3):
        assert ask(desk, source, operation="fit", **defaults("fit")).status_code == 202
    states = list(Job.objects.order_by("created_at").values_list("state", flat=True))
    assert states == [JobState.CANCELLED, JobState.CANCELLED, JobState.QUEUED]


def test_what_is_wrong_is_said_and_nothing_is_queued(desk: Client) -> None:
    source = picture()
    wrong = {**defaults("cut_out"), "strokes": "[{}]", "sure": "2"}
    answer = ask(desk, source, operation="cut_out", **wrong)
    assert answer.status_code == 400
    assert any("A stroke is" in text for text in answer.json()["problems"])
    assert "selected" in ask(desk, operation="fit", **defaults("fit")).json()["problems"][0]
    assert "no operation" in ask(desk, source, operation="nonsense").json()["problems"][0]
    assert ask(desk, source, operation="upload").status_code == 400
    assert ask(desk, source, operation="preview").status_code == 400
    assert not Job.objects.exists()


def test_why_it_would_be_held_back_and_why_it_failed(desk: Client) -> None:
    plain = make_image(content=_plain(), kind="source")
    url = ask(desk, plain, operation="cut_out", **defaults("cut_out")).json()["url"]
    run_job(Job.objects.get().pk)
    assert desk.get(url).json()["held_back"]
    Job.objects.all().delete()
    url = ask(desk, picture(), operation="repair", **defaults("repair")).json()["url"]
    run_job(Job.objects.get().pk)
    told = desk.get(url).json()
    assert told["state"] == "failed" and "Nothing is marked as damaged" in told["note"]


def _plain() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (300, 200), "#808080").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_recipe_shows_its_last_step(desk: Client) -> None:
    product = make_image(content=picture_bytes(width=800, height=600), kind="source")
    answer = ask(desk, product, operation="recipe:marketplace-white")
    assert answer.status_code == 202, answer.content
    assert run_job(Job.objects.get().pk) == "succeeded"


def test_nobody_sees_anothers(desk: Client) -> None:
    answer = ask(desk, picture(), operation="fit", **defaults("fit"))
    url = answer.json()["url"]
    run_job(Job.objects.get().pk)
    other = as_user(make_user("other", "submit_job", "view_job", is_staff=True))
    assert other.get(url).status_code == 404 and other.get(f"{url}picture/").status_code == 404
    nobody = as_user(make_user("nobody", is_staff=True))
    assert ask(nobody, picture(), operation="fit", **defaults("fit")).status_code == 400
    assert desk.get(reverse(ASK)).status_code == 405
