"""The engine over a server: three dialects and OpenAI's own, every fault, and nothing sent that nobody allowed."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from PIL import Image

from shopgen_django.engines import errors, reset_engines
from shopgen_django.engines.pictures import PictureRequest
from shopgen_django.engines.remote import OpenAICompatible
from shopgen_django.engines.remote.client import Client
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ProductImage
from shopgen_django.services.submit import submit_job

from .server import Told, running

SIZE = {"width": 64, "height": 48}


@pytest.fixture
def served() -> Iterator[tuple[str, Told]]:
    with running() as both:
        yield both


def engine(url: str, **options: Any) -> OpenAICompatible:
    return OpenAICompatible(**{"URL": url, "MODEL": "tiny", "SIZE": (64, 48), "RETRIES": 0, **options})


def request(task: Any = "text", **values: Any) -> PictureRequest:
    picture = Image.new("RGB", (64, 48), "#aa5500")
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    given = {"image": picture} if task != "text" else {}
    given |= {"mask": mask} if task == "inpaint" else {}
    fields = {"prompt": "a red hat", "negative": "text", "seed": 7, "steps": 9, **SIZE, **given, **values}
    return PictureRequest(task=task, **fields)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("dialect", ["vllm", "ollama", "localai", "openai"])
def test_words_become_pictures_each_with_its_own_seed(served: tuple[str, Told], dialect: str) -> None:
    url, told = served
    made = list(engine(url, DIALECT=dialect).run(request(count=2)))
    assert [(picture.number, picture.image.size, picture.image.mode) for picture in made] == [
        (0, (64, 48), "RGB"), (1, (64, 48), "RGB")
    ]
    bodies = [asked["json"] for asked in told.asked]
    assert {asked["path"] for asked in told.asked} == {"/v1/images/generations"}
    assert all((body["prompt"], body["size"], body["model"]) == ("a red hat", "64x48", "tiny") for body in bodies)
    if dialect == "vllm":
        assert [body["seed"] for body in bodies] == [picture.seed for picture in made]
        assert made[0].seed != made[1].seed and bodies[0]["num_inference_steps"] == 9
        assert made[0].facts["seed"] == str(made[0].seed)
    else:
        assert "seed" not in bodies[0] and "seed" not in made[0].facts, "what a server can't keep is not promised"
    assert ("n" in bodies[0]) is (dialect != "ollama")
    assert ("negative_prompt" in bodies[0]) is (dialect in ("vllm", "localai"))
    assert made[0].facts["server"] == url.split("/")[2]
    assert "left_this_machine" not in made[0].facts


@pytest.mark.parametrize("dialect", ["vllm", "localai", "openai"])
def test_a_picture_is_changed_and_a_part_of_it(served: tuple[str, Told], dialect: str) -> None:
    url, told = served
    server = engine(url, DIALECT=dialect)
    list(server.run(request("image")))
    list(server.run(request("inpaint")))
    changed, repainted = told.asked
    if dialect == "localai":
        assert opened(base64.b64decode(changed["json"]["file"])).getpixel((0, 0)) == (0xAA, 0x55, 0)
        assert repainted["path"] == "/v1/images/inpainting"
    else:
        assert changed["path"] == repainted["path"] == "/v1/images/edits"
        assert opened(changed["fields"]["image"]).getpixel((0, 0)) == (0xAA, 0x55, 0)
    mask = opened(repainted["fields"]["mask_image" if dialect == "vllm" else "mask"])
    if dialect == "openai":
        assert (mask.getpixel((5, 5))[3], mask.getpixel((60, 5))[3]) == (0, 255), "transparent is repainted"
    else:
        assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0), "white is repainted"


def test_a_picture_behind_an_address_of_the_same_server_only(served: tuple[str, Told]) -> None:
    url, told = served
    told.reply = "url"
    (made,) = engine(url).run(request())
    assert made.image.size == (64, 48) and made.facts["revised_prompt"] == "a nicer hat"
    assert told.asked[-1]["path"] == "/generated-images/one.png"
    for elsewhere in ("http://169.254.169.254/latest", "https://127.0.0.1:1/x.png", "file:///etc/passwd", "//evil/x"):
        told.url = elsewhere
        with pytest.raises(errors.BadOutput, match="another host"):
            list(engine(url).run(request()))


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("busy", errors.ServerUnavailable, "too many requests"),
        ("broken", errors.ServerUnavailable, "oops"),
        ("refuses", errors.BadRequest, "multiple of 32"),
        ("bad_request", errors.BadRequest, "no such scheduler"),
        ("locked", errors.ServerRefused, "missing key"),
        ("unknown", errors.ModelMissing, "model not found"),
        ("elsewhere", errors.ServerRefused, "redirects are not followed"),
        ("no_json", errors.BadOutput, "not JSON"),
        ("no_picture", errors.BadOutput, "no picture"),
        ("not_base64", errors.BadOutput, "base64"),
        ("not_a_picture", errors.BadOutput, "no PNG, JPEG or WebP"),
        ("wrong_size", errors.BadOutput, "32×32"),
        ("black", errors.BadOutput, "black all over"),
        ("huge", errors.BadOutput, "larger than 1 MB"),
        ("hang", errors.ServerUnavailable, "answer|longer than"),
        ("drip", errors.ServerUnavailable, "longer than"),
        ("cut", errors.ServerUnavailable, "answer|longer"),
    ],
)
def test_every_fault_is_a_named_error(served: tuple[str, Told], fault: str, error: type[Exception], words: str) -> None:
    url, told = served
    told.faults = [fault]
    with pytest.raises(error, match=words):
        list(engine(url, MAX_BYTES=1 << 20, TIMEOUT=1.0).run(request()))
    told.released.set()
    assert len(list(engine(url).run(request()))) == 1, "the engine stays usable"


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not(served: tuple[str, Told]) -> None:
    url, told = served
    told.faults = ["busy", "broken"]
    assert len(list(engine(url, RETRIES=2).run(request()))) == 1
    assert len(told.asked) == 3
    told.faults = ["refuses"]
    with pytest.raises(errors.BadRequest):
        list(engine(url, RETRIES=2).run(request()))
    assert len(told.asked) == 4


def test_cancelled_while_the_server_thinks(served: tuple[str, Told]) -> None:
    url, told = served
    told.faults = ["hang"]
    began = time.monotonic()

    class Stop(Exception):
        """Somebody cancelled."""

    def check() -> None:
        if time.monotonic() - began > 0.3:
            raise Stop

    with pytest.raises(Stop):
        list(engine(url, TIMEOUT=20.0).run(request(), check=check))
    assert time.monotonic() - began < 10


def test_nothing_goes_to_another_machine_unless_a_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    away = engine("https://gpu.example.org/v1")
    assert "ALLOW_REMOTE" in away.check()[0]
    with pytest.raises(errors.ServerRefused, match="ALLOW_REMOTE"):
        list(away.run(request()))
    assert engine("https://gpu.example.org/v1", ALLOW_REMOTE=True).check() == []
    plain = engine("http://gpu.example.org/v1", ALLOW_REMOTE=True, KEY_VARIABLE="SHOPGEN_TEST_KEY")
    assert any("unencrypted" in text for text in plain.check()) and any("is empty" in text for text in plain.check())
    monkeypatch.setattr(Client, "is_here", False)
    with running() as (url, _told):
        (made,) = engine(url, ALLOW_REMOTE=True).run(request("inpaint"))
    assert made.facts["left_this_machine"] == "words, picture, mask"


def test_the_key_comes_from_the_environment_and_goes_into_the_header(
    served: tuple[str, Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, told = served
    monkeypatch.setenv("SHOPGEN_TEST_KEY", "secret")
    made = list(engine(url, KEY_VARIABLE="SHOPGEN_TEST_KEY").run(request()))
    assert told.asked[0]["headers"]["Authorization"] == "Bearer secret"
    assert "secret" not in str(made[0].facts)
    for url in ("ftp://x/v1", "http://user:key@127.0.0.1/v1", "nonsense", "http://127.0.0.1/v1?key=1"):
        with pytest.raises(ImproperlyConfigured):
            engine(url)
    with pytest.raises(ImproperlyConfigured, match="DIALECT"):
        engine("http://127.0.0.1/v1", DIALECT="esperanto")
    with pytest.raises(ImproperlyConfigured, match="COLOUR"):
        engine("http://127.0.0.1/v1", COLOUR=1)


def test_what_a_server_can_not_do_is_refused_before_it_is_asked(served: tuple[str, Told]) -> None:
    url, told = served
    with pytest.raises(errors.WrongKind):
        engine(url, DIALECT="ollama").describe("inpaint")
    with pytest.raises(errors.BadRequest):
        list(engine(url).run(request(scheduler="euler")))
    with pytest.raises(errors.BadRequest, match="multiples"):
        list(engine(url).run(request(width=63)))
    with pytest.raises(errors.ModelMissing, match="URL"):
        OpenAICompatible().describe()
    assert told.asked == []


@pytest.mark.django_db
def test_the_same_button_another_engine(served: tuple[str, Told], settings: Any) -> None:
    """``create`` as a job: only the alias' backend changes; the file says which server made it."""
    url, _told = served
    backend = "shopgen_django.engines.remote.OpenAICompatible"
    options = {"URL": url, "MODEL": "tiny", "SIZE": (64, 48)}
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {"BACKEND": backend, "OPTIONS": options}}}
    try:
        job, _new = submit_job(operation="create", params={"prompt": "a red hat", "count": 2})
        assert run_job(job.pk) == "succeeded"
    finally:
        reset_engines()
    images = ProductImage.objects.filter(job=job)
    assert images.count() == 2
    assert all(image.digital_source == "trainedAlgorithmicMedia" for image in images)
    assert url.split("/")[2] in str(images[0].params)
