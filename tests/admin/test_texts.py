"""The desk where proposed texts are read."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.models import Job, JobInput, JobState, TextState, TextSuggestion
from tests.factories import make_image, make_user
from tests.testshop.models import Product

from .conftest import as_user, make_job

DESK = "/admin/shopgen/textsuggestion/"


def proposed(product: Product, **texts: str) -> dict[str, TextSuggestion]:
    """The texts of one job for the product; one that ends with "!" is doubtful."""
    image = make_image(kind="source", catalogue="default", object_pk=str(product.pk), product_label=product.name)
    job = make_job(JobState.SUCCEEDED, operation="describe", params={"kinds": []}, product_label=product.name)
    JobInput.objects.create(job=job, image=image, position=0)
    return {
        kind: TextSuggestion.objects.create(
            kind=kind, text=text, proposed=text, language="en", image=image, job=job, catalogue="default",
            object_pk=str(product.pk), product_label=product.name, facts={"model": "eyes"},
            doubts=["Says what a photo can’t prove."] if text.endswith("!") else [],
        )
        for kind, text in texts.items()
    }


def answer(texts: dict[str, TextSuggestion], choice: str = "take", **changes: str) -> dict[str, Any]:
    data: dict[str, Any] = {"pk": [str(row.pk) for row in texts.values()]}
    for kind, row in texts.items():
        data |= {f"text-{row.pk}": changes.get(kind, row.text), f"choice-{row.pk}": choice}
    return data


def test_the_desk_shows_photo_text_and_what_the_shop_says_now(desk: Client, product: Product) -> None:
    texts = proposed(product, alt_text="A green dress", title="Green dress", description="Pure silk!")
    page = desk.get(DESK).content.decode()
    assert "3 texts are waiting to be read" in page
    assert page.index(">Title") < page.index(">Description") < page.index(">Alt text")
    assert "Says what a photo can’t prove." in page and "In the shop now" in page
    assert f'name="choice-{texts["title"].pk}" value="take" checked' in page
    assert f'name="choice-{texts["description"].pk}" value="later" checked' in page, "doubts are never taken by default"
    assert "<dd>eyes</dd>" in page


def test_texts_are_taken_changed_rejected_and_left(desk: Client, product: Product) -> None:
    texts = proposed(product, title="Green dress", description="Long!", alt_text="A dress", tags="green")
    data = answer(texts, title="Emerald dress")
    data |= {f"choice-{texts['alt_text'].pk}": "later", f"choice-{texts['tags'].pk}": "reject", "reason": "Not ours"}
    page = desk.post(f"{DESK}decide/", {**data, "publish": "1"}, follow=True).content.decode()
    product.refresh_from_db()
    assert (product.name, product.description) == ("Emerald dress", "Long!")
    states = dict(TextSuggestion.objects.values_list("kind", "state"))
    assert states == {
        "title": TextState.PUBLISHED, "description": TextState.PUBLISHED, "alt_text": TextState.IN_REVIEW,
        "tags": TextState.REJECTED,
    }
    assert "One text" in page or "1 text is waiting" in page
    assert TextSuggestion.objects.get(kind="tags").reason == "Not ours"


def test_what_goes_wrong_is_told_beside_its_text_and_keeps_the_words(desk: Client, product: Product) -> None:
    texts = proposed(product, title="Green dress", tags="green")
    data = answer(texts, title="")
    data |= {f"choice-{texts['tags'].pk}": "reject"}
    page = desk.post(f"{DESK}decide/", data).content.decode()
    assert "A text is needed." in page and "Say why the text is rejected." in page
    assert set(TextSuggestion.objects.values_list("state", flat=True)) == {TextState.IN_REVIEW}
    long = answer(texts, title="x" * 230)
    long[f"choice-{texts['tags'].pk}"] = "later"
    page = desk.post(f"{DESK}decide/", {**long, "publish": "1"}, follow=True).content.decode()
    assert "200 characters" in page
    assert TextSuggestion.objects.get(kind="title").state == TextState.APPROVED, "approved; the shop had no room"


def test_the_next_product_comes_and_a_second_press_harms_nothing(desk: Client, product: Product) -> None:
    first, second = proposed(product, title="One"), proposed(product, title="Two")
    page = desk.get(DESK).content.decode()
    assert f"?text={second['title'].pk}" in page
    data = {**answer(first), "after": str(second["title"].pk)}
    page = desk.post(f"{DESK}decide/", data, follow=True).content.decode()
    assert ">Two</textarea>" in page
    page = desk.post(f"{DESK}decide/", data, follow=True).content.decode()
    assert "only texts that wait for review" in page and ">Two</textarea>" in page


def test_one_text_has_a_page_with_what_may_be_done(desk: Client, product: Product) -> None:
    row = proposed(product, title="Green dress!")["title"]
    url = reverse("admin:shopgen_textsuggestion_change", args=[row.pk])
    assert "Read and decide" in desk.get(url).content.decode()
    desk.post(f"{DESK}decide/", answer({"title": row}))
    assert "Put into the shop" in desk.get(url).content.decode()
    desk.post(f"{DESK}{row.pk}/verb/publish/")
    product.refresh_from_db()
    assert product.name == "Green dress!"
    page = desk.post(f"{DESK}{row.pk}/verb/withdraw/", follow=True).content.decode()
    assert "as it is before" in page or "as it was before" in page
    product.refresh_from_db()
    assert product.name == "Green dress"
    desk.post(f"{DESK}{row.pk}/verb/reopen/")
    row.refresh_from_db()
    assert row.state == TextState.IN_REVIEW


def test_lists_actions_and_the_start_page(desk: Client, product: Product) -> None:
    row = proposed(product, title="Green gown")["title"]
    assert "1</strong> texts to be read" in desk.get("/admin/shopgen/").content.decode()
    listed = desk.get(f"{DESK}all/").content.decode()
    assert "Green gown" in listed
    assert "Green gown" in desk.get(DESK, {"q": "Green"}).content.decode()
    desk.post(f"{DESK}decide/", answer({"title": row}))
    for action, state in (("publish", TextState.PUBLISHED), ("withdraw", TextState.WITHDRAWN)):
        desk.post(f"{DESK}all/", {"action": action, "_selected_action": [str(row.pk)]})
        row.refresh_from_db()
        assert row.state == state
    assert "Green gown" in desk.get(reverse("admin:shopgen_job_change", args=[row.job_id])).content.decode()


@pytest.mark.parametrize(("permissions", "reads", "decides", "publishes"), [
    ((), False, False, False), (("view_textsuggestion",), True, False, False),
    (("review_textsuggestion",), True, True, False),
    (("review_textsuggestion", "publish_textsuggestion"), True, True, True),
])  # fmt: skip
def test_each_verb_needs_its_permission(
    db: None, product: Product, permissions: tuple[str, ...], reads: bool, decides: bool, publishes: bool
) -> None:
    texts = proposed(product, title="Gown")
    client = as_user(make_user("mia", *permissions))
    assert (client.get(DESK).status_code == 200) == reads
    assert (client.post(f"{DESK}decide/", {**answer(texts), "publish": "1"}).status_code == 302) == decides
    state = TextSuggestion.objects.get().state
    wanted = TextState.PUBLISHED if publishes else TextState.APPROVED if decides else TextState.IN_REVIEW
    assert state == wanted


def test_the_queue_page_offers_it_and_says_what_is_missing(desk: Client, product: Product) -> None:
    image = make_image(kind="source")
    page = desk.post(reverse("admin:shopgen_productimage_run"), {
        "pk": [str(image.pk)], "operation": "describe", "shown": "describe", "p-kinds": ["title"],
        "p-language": "en", "p-max_tags": "8", "queue": "1",
    }).content.decode()  # fmt: skip
    assert "Propose texts" in page and "No model is configured" in page
    assert not Job.objects.exists()
