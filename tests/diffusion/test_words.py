"""The words that a model would read are shown before anything is queued: in the admin, over HTTP, of chains too."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage
from shopgen_django.operations import loras
from shopgen_django.operations.base import Words
from shopgen_django.operations.loras import OwnLora
from shopgen_django.services.submit import plan_job, submit_job
from shopgen_django.services.words import words_of
from tests.factories import make_image, make_user
from tests.testshop.models import Category, Product

pytestmark = pytest.mark.django_db
LONG = "{title} on marble, " * 6 + "at the very end"
API = "/shopgen/api/v1/operations"


@pytest.fixture
def desk(db: None) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("boss", password="secret"))
    return client


@pytest.fixture
def client(db: None) -> APIClient:
    found = APIClient()
    found.force_login(make_user("maker", "submit_job"))
    return found


@pytest.fixture
def dresses(db: None) -> list[Product]:
    category = Category.objects.create(name="Dress")
    return [Product.objects.create(name=f"Dress {number}", category=category) for number in range(5)]


def words(operation: str = "create", **wish: Any) -> Words:
    (found,) = words_of([plan_job(operation=operation, **wish)])
    (only,) = found
    return only


def test_presets_placeholders_and_trigger_words_are_in_their_places(
    sd: Path, use: Callable[..., None], dresses: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(MODEL=str(sd))
    own = OwnLora(name="house", locate=lambda: Path("house.safetensors"), sha256="0" * 64, trigger="zeni style")
    monkeypatch.setattr(loras.shelf, "find_own", lambda name: own if name == "house" else None)
    told = words(
        catalogue="default", object_pk=dresses[0].pk,
        params={"prompt": "{title}, a {category}", "negative": "hands", "preset": "autumn", "loras": "house: 0.5"},
    )
    assert told.prompt.text.startswith("zeni style, product photo of Dress 0, a Dress on a rustic board")
    assert told.negative.text.startswith("hands, text, watermark") and told.negative_heeded and told.untold == ""
    assert told.prompt.cut and told.is_cut
    assert told.prompt.text == f"{told.prompt.whole} {told.prompt.cut}"
    assert not words(params={"prompt": "a hat", "negative": "x" * 100, "guidance": 1.0}).negative_heeded
    assert not words(params={"prompt": "a hat", "negative": "x" * 100, "guidance": 1.0}).is_cut
    assert words(params={"prompt": "a hat", "negative": "x" * 100}).is_cut


@pytest.mark.django_db(transaction=True)
def test_what_is_shown_before_is_what_the_job_has_read(
    sd: Path, use: Callable[..., None], dresses: list[Product]
) -> None:
    """Also for a picture whose own category is another than its product's, and for one that has none."""
    use(MODEL=str(sd))
    for category in ("Gown", ""):
        image = make_image(
            "approved", catalogue="default", object_pk=str(dresses[0].pk), product_label="Dress 0", category=category
        )
        wish: dict[str, Any] = {
            "operation": "restyle", "inputs": [image],
            "params": {"prompt": LONG + " {category}", "preset": "marble", "steps": 2, "strength": 0.5},
        }
        ((told,),) = words_of([plan_job(**wish)])
        job, _new = submit_job(**wish)
        assert run_job(job.pk) == "succeeded", Job.objects.get(pk=job.pk).error_detail
        made = ProductImage.objects.get(job=job).params["made_with"]
        assert told.prompt.text == made["prompt"] and told.negative.text == made["negative_prompt"]
        assert told.prompt.cut == made["prompt_not_read"] != ""
        assert (category or "Dress") in told.prompt.text


def test_operations_without_words_have_none_and_chains_have_those_of_their_steps(
    sd: Path, use: Callable[..., None]
) -> None:
    use(MODEL=str(sd))
    image = make_image("approved", product_label="Hat")
    assert words_of([plan_job(operation="fit", inputs=[image])]) == [()]
    steps = [
        {"operation": "fit"}, {"operation": "restyle", "params": {"prompt": "{title} in linen"}},
        {"operation": "restyle", "params": {"prompt": "at night", "guidance": 1}},
    ]
    wish = {"recipe": "own", "steps": steps}
    ((first, second),) = words_of([plan_job(operation="recipe", inputs=[image], params=wish)])
    assert (first.prompt.text, second.prompt.text) == ("Hat in linen", "at night") and str(first.step) == "Restyle"


def test_a_tokenizer_that_cannot_be_read_stops_nobody(
    sd: Path, use: Callable[..., None], copy: Callable[[Path], Path], desk: Client
) -> None:
    folder = copy(sd)
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    use(MODEL=str(folder))
    told = words(params={"prompt": "a hat"})
    assert told.prompt.unread is None and "can't be read" in told.untold and not told.is_cut
    page = press(desk, "words", {"p-prompt": "a hat"})
    assert "could not be told" in page and "Traceback" not in page
    press(desk, "queue", {"p-prompt": "a hat"})
    assert Job.objects.count() == 1


def press(desk: Client, button: str, values: dict[str, Any], *products: Product, more: Any = ()) -> str:
    from shopgen_django.operations.registry import get_operation

    defaults = get_operation("create").Parameters.defaults()
    body = {f"p-{name}": value for name, value in defaults.items() if value is not None}
    body |= {"operation": "create", "shown": "create", button: "1", **values, **dict(more)}
    if products:
        body |= {"catalogue": "default", "product": [str(product.pk) for product in products]}
    answer = desk.post(reverse("admin:shopgen_products_run" if products else "admin:shopgen_job_queue"), body)
    assert answer.status_code in (200, 302)
    return "" if answer.status_code == 302 else re.sub(r"\s+", " ", unescape(answer.content.decode()))


def test_the_page_shows_the_first_three_and_asks_before_words_are_lost(
    sd: Path, use: Callable[..., None], desk: Client, dresses: list[Product]
) -> None:
    use(MODEL=str(sd))
    page = press(desk, "words", {"p-prompt": "{title} on marble"}, *dresses)
    shown = re.findall(r'<p class="sg-prompt">(.*?)</p>', page)
    assert [text.strip() for text in shown] == [f"Dress {number} on marble" for number in range(3)]
    assert "and 2 more" in page and "cut_seen" not in page and "not read:" not in page
    assert not Job.objects.exists()

    page = press(desk, "queue", {"p-prompt": LONG}, *dresses)
    assert "Nothing was queued yet." in page and not Job.objects.exists()
    assert page.count('<strong class="sg-cut-label">not read:</strong> <del class="sg-cut">') == 3
    assert "In 5 jobs the model would not read the end of the words" in page and "Queue it as it is" in page
    seen = re.search(r'name="cut_seen" value="(\w+)"', page)
    assert seen is not None
    page = press(desk, "queue", {"p-prompt": LONG + " and more"}, *dresses, more={"cut_seen": seen[1]})
    assert "Nothing was queued yet." in page, "other words would be lost than those that were seen"
    press(desk, "queue", {"p-prompt": LONG}, *dresses, more={"cut_seen": seen[1]})
    assert Job.objects.count() == 5


def test_a_page_without_words_says_nothing_of_them(desk: Client) -> None:
    image = make_image("draft")
    page = desk.post(reverse("admin:shopgen_productimage_run"), {"operation": "fit", "pk": str(image.pk)})
    assert "sg-words" not in page.content.decode()


def test_over_http(sd: Path, use: Callable[..., None], client: APIClient, dresses: list[Product]) -> None:
    use(MODEL=str(sd))
    several = {
        "operation": "create", "params": {"prompt": LONG}, "products": [dresses[0].pk, "999", dresses[1].pk],
        "dry_run": True,
    }
    answer = client.post(f"{API}/create/words/", several, format="json")
    assert answer.status_code == 200, answer.json()
    told = answer.json()
    assert [target["item"] for target in told["targets"]] == [str(dresses[0].pk), str(dresses[1].pk)]
    first = told["targets"][0]["words"][0]
    assert first["prompt"]["text"].startswith("Dress 0 on marble") and first["prompt"]["cut"].endswith("very end")
    assert first["negative"] == {"text": "", "cut": "", "partly": ""} and told["cut"] == 2
    assert told["problems"][0]["item"] == "999"
    one = {"params": {"prompt": "{title}"}, "object_pk": str(dresses[2].pk)}
    told = client.post(f"{API}/create/words/", one, format="json").json()
    assert told["targets"][0]["words"][0]["prompt"]["text"] == "Dress 2" and told["cut"] == 0
    assert client.post(f"{API}/generate/words/", {}, format="json").status_code == 409
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"operation": "restyle"}, 400), ({"params": {"prompt": ""}}, 400), ({"nonsense": 1}, 400),
        ({"object_pk": "999"}, 404), ({"inputs": ["00000000-0000-4000-8000-000000000000"]}, 404),
        ({"images": ["00000000-0000-4000-8000-000000000000"], "object_pk": "1"}, 400),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_over_http(
    sd: Path, use: Callable[..., None], client: APIClient, body: dict[str, Any], status: int
) -> None:
    use(MODEL=str(sd))
    assert client.post(f"{API}/create/words/", body, format="json").status_code == status


def test_many_jobs_cost_no_more_queries_for_their_words(
    sd: Path, use: Callable[..., None], dresses: list[Product], django_assert_num_queries: Any
) -> None:
    use(MODEL=str(sd))
    planned = [
        plan_job(operation="create", catalogue="default", object_pk=product.pk, params={"prompt": "{title}"})
        for product in dresses
    ]
    with django_assert_num_queries(0):
        words_of(planned)
