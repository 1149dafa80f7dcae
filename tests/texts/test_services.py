"""Read, changed, decided, put into the shop, taken back."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models.signals import pre_save

from shopgen_django.exceptions import (
    InvalidParameters,
    InvalidState,
    NotAllowed,
    NotFound,
    ProductNotFound,
    PublishError,
)
from shopgen_django.models import ProductImage, TextState, TextSuggestion
from shopgen_django.services.images import delete_image, import_from_catalogue
from shopgen_django.services.retention import apply_retention
from shopgen_django.services.texts import (
    approve_text,
    edit_text,
    publish_text,
    reject_text,
    reopen_text,
    text_now,
    withdraw_text,
)
from shopgen_django.signals import text_published, text_withdrawn
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Category, Garment, GarmentPhoto, Product

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    row = Product.objects.create(
        name="Dress", description="Our dress.", category=Category.objects.create(name="Dresses")
    )
    row.image.save("photo.png", ContentFile(picture_bytes(colour="#000080")))
    return row


def suggest(product: Any = None, kind: str = "title", text: str = "Blue dress", **fields: Any) -> TextSuggestion:
    values: dict[str, Any] = {"kind": kind, "text": text, "proposed": text, "language": "en"}
    if product is not None:
        values |= {"catalogue": "default", "object_pk": str(product.pk), "product_label": "Dress"}
    return TextSuggestion.objects.create(**{**values, **fields})


def published(product: Any, kind: str = "title", text: str = "Blue dress", **fields: Any) -> TextSuggestion:
    return publish_text(suggestion=approve_text(suggestion=suggest(product, kind, text, **fields)))


def test_a_text_is_changed_approved_published_and_taken_back(product: Product) -> None:
    heard: list[str] = []

    def on(sender: Any, signal: Any, suggestion: Any, **rest: Any) -> None:
        heard.append("in" if signal is text_published else f"out {rest['outcome'].value}")

    for signal in (text_published, text_withdrawn):
        signal.connect(on)
    row = suggest(product, text="blue dress")
    edit_text(suggestion=row, text="  Blue   dress ")
    assert (row.text, row.proposed) == ("Blue dress", "blue dress")
    approve_text(suggestion=row, text="Navy dress")
    assert text_now(row) == "Dress"
    publish_text(suggestion=row)
    product.refresh_from_db()
    assert (product.name, row.state, text_now(row)) == ("Navy dress", TextState.PUBLISHED, "Navy dress")
    withdraw_text(suggestion=row)
    product.refresh_from_db()
    assert (product.name, row.state, row.withdraw_outcome) == ("Dress", TextState.WITHDRAWN, "restored")
    assert heard == ["in", "out restored"]
    assert reopen_text(suggestion=row).state == TextState.IN_REVIEW


def test_a_text_that_a_person_has_changed_since_stays(product: Product) -> None:
    row = published(product, "description", "A blue dress.")
    Product.objects.filter(pk=product.pk).update(description="By hand.")
    assert withdraw_text(suggestion=row).withdraw_outcome == "kept_newer"
    product.refresh_from_db()
    assert product.description == "By hand."


def test_two_texts_are_taken_back_in_either_order(product: Product) -> None:
    for first, last in ((0, 1), (1, 0)):
        rows = [published(product, text="One"), published(product, text="Two")]
        for number in (first, last):
            rows[number].refresh_from_db()
            withdraw_text(suggestion=rows[number])
        product.refresh_from_db()
        assert product.name == "Dress", (first, last)


def test_an_alt_text_reaches_our_picture_and_the_same_picture_in_the_shop(settings: Any) -> None:
    settings.SHOPGEN = {
        **settings.SHOPGEN,
        "CATALOGUES": {"default": {
            "ADAPTER": "shopgen_django.catalogues.generic.GenericCatalogue", "OPTIONS": {"MODEL": "testshop.Garment"},
        }},
    }  # fmt: skip
    garment = Garment.objects.create(title="Coat")
    for number, colour in enumerate(("#000080", "#800000")):
        shot = GarmentPhoto(garment=garment, position=number, caption=f"old {number}")
        shot.photo.save("photo.png", ContentFile(picture_bytes(colour=colour)))
    second = import_from_catalogue(object_pk=garment.pk)[1]
    row = published(garment, "alt_text", "A red coat", image=second)
    captions = [shot.caption for shot in garment.photos.all()]
    second.refresh_from_db()
    assert (captions, second.alt_text) == (["old 0", "A red coat"], "A red coat")
    withdraw_text(suggestion=row)
    second.refresh_from_db()
    assert [shot.caption for shot in garment.photos.all()] == ["old 0", "old 1"]
    assert second.alt_text == "old 1"


def test_an_alt_text_of_a_picture_without_a_product_stays_with_the_picture() -> None:
    image = make_image(alt_text="old")
    row = published(None, "alt_text", "A red coat", image=image)
    image.refresh_from_db()
    assert image.alt_text == "A red coat"
    withdraw_text(suggestion=row)
    image.refresh_from_db()
    assert image.alt_text == "old"


def test_what_cannot_go_into_the_shop_says_why_and_changes_nothing(product: Product) -> None:
    with pytest.raises(InvalidState, match="only approved"):
        publish_text(suggestion=suggest(product))
    with pytest.raises(PublishError, match="no product"):
        publish_text(suggestion=approve_text(suggestion=suggest(None)))
    with pytest.raises(PublishError, match="no place for this kind of text"):
        publish_text(suggestion=approve_text(suggestion=suggest(product, "tags", "red")))
    long = approve_text(suggestion=suggest(product), text="x" * 230)
    with pytest.raises(PublishError, match="200 characters"):
        publish_text(suggestion=long)
    long.refresh_from_db()
    assert long.state == TextState.APPROVED and long.receipt is None
    person = make_image(personal=True)
    with pytest.raises(PublishError, match="shows a person"):
        publish_text(suggestion=approve_text(suggestion=suggest(product, "alt_text", "A woman", image=person)))
    waits = approve_text(suggestion=suggest(product))
    Product.objects.all().delete()
    with pytest.raises(ProductNotFound, match="deleted"):
        publish_text(suggestion=waits)


def test_when_the_shops_save_fails_the_text_stays_approved(product: Product) -> None:
    row = approve_text(suggestion=suggest(product))

    def refuse(**kwargs: Any) -> None:
        raise ValueError("the shop says no")

    pre_save.connect(refuse, sender=Product)
    try:
        with pytest.raises(PublishError, match="ValueError"):
            publish_text(suggestion=row)
    finally:
        pre_save.disconnect(refuse, sender=Product)
    row.refresh_from_db()
    product.refresh_from_db()
    assert (row.state, product.name) == (TextState.APPROVED, "Dress")


def test_somebody_elses_decision_is_not_overwritten(product: Product) -> None:
    row = suggest(product)
    other = TextSuggestion.objects.get(pk=row.pk)
    approve_text(suggestion=other)
    for act in (
        lambda: approve_text(suggestion=row), lambda: edit_text(suggestion=row, text="x"),
        lambda: reject_text(suggestion=row, reason="no"),
    ):
        with pytest.raises(InvalidState):
            act()
    other.delete()
    with pytest.raises(NotFound):
        publish_text(suggestion=row)


def test_each_verb_needs_its_permission_and_four_eyes_are_two_people(product: Product, settings: Any) -> None:
    tom, mia = make_user("tom"), make_user("mia", "review_textsuggestion")
    row = suggest(product, created_by=mia)
    for act in (approve_text, reopen_text, publish_text, withdraw_text):
        with pytest.raises(NotAllowed):
            act(suggestion=row, user=tom)
    settings.SHOPGEN = {**settings.SHOPGEN, "REVIEW": {"FOUR_EYES": True}}
    with pytest.raises(NotAllowed, match="Somebody else"):
        approve_text(suggestion=row, user=mia)
    with pytest.raises(InvalidParameters, match="Say why"):
        reject_text(suggestion=row, user=mia, reason=" ")
    assert reject_text(suggestion=row, user=mia, reason="Wrong").reviewer == mia
    again = reopen_text(suggestion=row)
    for text in ("", "\x00", "x" * 9000):
        with pytest.raises(InvalidParameters):
            edit_text(suggestion=again, text=text)


def test_the_database_keeps_the_states(product: Product) -> None:
    row = suggest(product)
    for wrong in ({"state": "published"}, {"state": "approved"}, {"state": "odd"}, {"kind": "poem"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            TextSuggestion.objects.filter(pk=row.pk).update(**wrong)


def test_rejected_texts_go_after_a_while_and_words_about_a_person_with_the_photo(
    product: Product, settings: Any
) -> None:
    reject_text(suggestion=suggest(product), reason="no")
    kept = suggest(product)
    settings.SHOPGEN = {**settings.SHOPGEN, "RETENTION": {"REJECTED_IMAGES_DAYS": 0}}
    assert apply_retention(dry_run=True).texts == 1
    assert apply_retention().texts == 1
    assert list(TextSuggestion.objects.all()) == [kept]
    person = make_image(personal=True)
    suggest(None, "alt_text", "A woman in red", image=person)
    delete_image(image=person)
    assert list(TextSuggestion.objects.all()) == [kept]
    assert not ProductImage.objects.exists()
