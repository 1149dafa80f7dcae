"""Texts by a server's model: what is sent, every fault, and nothing sent that nobody allowed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from PIL import Image

from shopgen_django.engines import errors, reset_engines
from shopgen_django.engines.remote import OpenAIVision
from shopgen_django.engines.texts import TextRequest
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import TextSuggestion
from shopgen_django.services.submit import submit_job
from tests.factories import make_image

from .server import Told, running


@pytest.fixture
def served() -> Iterator[tuple[str, Told]]:
    with running() as both:
        yield both


def engine(url: str, **options: Any) -> OpenAIVision:
    return OpenAIVision(**{"URL": url, "MODEL": "eyes", "RETRIES": 0, **options})


def request(**values: Any) -> TextRequest:
    fields: dict[str, Any] = {
        "images": (Image.new("RGB", (2000, 1500), "#aa5500"),), "kinds": ("title", "alt_text"), "title": "hat",
    }  # fmt: skip
    return TextRequest(**{**fields, **values})


def test_words_and_reduced_pictures_go_out_and_texts_come_back(served: tuple[str, Told]) -> None:
    url, told = served
    shares: list[float] = []
    made = engine(url, TOKENS_FIELD="max_completion_tokens").write(
        request(images=request().images * 2), on_step=shares.append
    )
    assert made.texts == {"title": "Red hat", "alt_text": "A red hat"} and shares == [0.5, 1.0]
    (asked,) = told.asked
    assert asked["path"] == "/v1/chat/completions"
    body = asked["json"]
    assert (body["model"], body["temperature"], body["stream"]) == ("eyes", 0, False)
    assert body["max_completion_tokens"] > 200 and "max_tokens" not in body
    shape = body["response_format"]["json_schema"]["schema"]
    assert set(shape["required"]) == {"title", "alt_text"}
    first, second, words = body["messages"][0]["content"]
    assert first == second and words["text"].startswith("You write texts")
    kind, _comma, coded = first["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(coded))).size == (1024, 768)
    assert "left_this_machine" not in made.facts and made.facts["server"].startswith("127.0.0.1:")


def test_a_server_without_schemas_is_not_asked_for_one(served: tuple[str, Told]) -> None:
    url, told = served
    engine(url, STRUCTURED=False).write(request())
    assert "response_format" not in told.asked[0]["json"]


@pytest.mark.parametrize("fault", ["fenced", "in_parts"])
def test_other_ways_of_saying_it_are_understood(served: tuple[str, Told], fault: str) -> None:
    url, told = served
    told.faults = [fault]
    assert engine(url).write(request()).texts["title"] == "Red hat"


def test_an_answer_that_is_no_json_is_asked_for_once_more(served: tuple[str, Told]) -> None:
    url, told = served
    told.faults = ["chatty"]
    assert engine(url).write(request()).texts["title"] == "Red hat"
    again = told.asked[1]["json"]["messages"]
    assert again[1] == {"role": "assistant", "content": "I see a hat."} and "JSON" in again[2]["content"]
    told.faults = ["chatty", "chatty"]
    with pytest.raises(errors.BadOutput, match="no JSON object"):
        engine(url).write(request())


@pytest.mark.parametrize(("fault", "error", "words"), [
    ("busy", errors.ServerUnavailable, "429"), ("broken", errors.ServerUnavailable, "500"),
    ("locked", errors.ServerRefused, "let us in"), ("unknown", errors.ModelMissing, "no such model"),
    ("bad_request", errors.BadRequest, "no such scheduler"), ("elsewhere", errors.ServerRefused, "redirects"),
    ("no_json", errors.BadOutput, "not JSON"), ("no_choices", errors.BadOutput, "no text"),
    ("too_long", errors.BadOutput, "cut off"), ("unwilling", errors.Blocked, "refuses to write"),
    ("huge", errors.BadOutput, "larger than"), ("cut", errors.ServerUnavailable, "does not answer"),
])  # fmt: skip
def test_every_fault_has_a_name(served: tuple[str, Told], fault: str, error: type[Exception], words: str) -> None:
    url, told = served
    told.faults = [fault]
    with pytest.raises(error, match=words):
        engine(url, MAX_BYTES=1 << 20).write(request())


def test_cancelling_stops_while_the_server_thinks(served: tuple[str, Told]) -> None:
    url, told = served
    told.faults = ["hang"]

    def check() -> None:
        if told.asked:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        engine(url).write(request(), check=check)


def test_nothing_goes_to_another_machine_unless_allowed() -> None:
    here = OpenAIVision(URL="http://192.0.2.7:8000/v1")
    with pytest.raises(errors.ServerRefused, match="ALLOW_REMOTE"):
        here.write(request())
    assert "another machine" in here.check()[0]
    with pytest.raises(errors.ModelMissing, match="No server"):
        OpenAIVision().describe()
    with pytest.raises(ImproperlyConfigured, match="no options DIALECT"):
        OpenAIVision(DIALECT="vllm")


@pytest.mark.django_db(transaction=True)
def test_the_operation_works_by_a_server(served: tuple[str, Told], settings: Any) -> None:
    url, told = served
    told.texts = {
        "title": "Red hat", "description": "A red hat made of 100% wool.", "tags": ["hat", "red", "red"],
        "alt_text": "an image of a red hat",
    }  # fmt: skip
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"text": {
        "BACKEND": "shopgen_django.engines.remote.OpenAIVision", "OPTIONS": {"URL": url, "MODEL": "eyes", "RETRIES": 0},
    }}}  # fmt: skip
    job, _new = submit_job(operation="describe", inputs=[make_image(kind="source")])
    assert run_job(job.pk) == "succeeded"
    reset_engines()
    texts = {row.kind: row for row in TextSuggestion.objects.all()}
    assert {kind: row.text for kind, row in texts.items()} == {
        "title": "Red hat", "description": "A red hat made of 100% wool.", "tags": "hat\nred", "alt_text": "A red hat"
    }
    assert "100% wool" in texts["description"].doubts[0] and texts["title"].doubts == []
    assert texts["title"].facts["model"] == "eyes"
