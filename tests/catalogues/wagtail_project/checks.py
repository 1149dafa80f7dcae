"""Tests inside the Wagtail shop. The name keeps the main suite, which has other settings, from collecting them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.images import ImageFile
from django.test import Client, TestCase
from django.utils import timezone
from wagtail.images.models import Image
from wagtail.models import Collection, Page, Site, Workflow

from shopgen_django.catalogues import WithdrawOutcome, get_catalogue
from shopgen_django.catalogues.testing import CatalogueContract, png
from shopgen_django.catalogues.wagtail import WagtailCatalogue
from shopgen_django.exceptions import PublishError
from shopgen_django.models import ProductImage
from shopgen_django.services.publishing import publish_image, withdraw_image
from tests.factories import make_image

from .shop.models import Garment, Poster, ProductPage, ShoePage, ShoePhoto


def library_image(content: bytes, name: str = "photo.png") -> Image:
    from io import BytesIO

    return Image.objects.create(title=name, file=ImageFile(BytesIO(content), name=name))


def home() -> Page:
    """The site's root page, as Wagtail's own migrations make it."""
    return Page.objects.filter(depth=2).first() or Page.objects.get(depth=1)


def page_titled(title: str, *, picture: bytes | None = None, live: bool = True, **fields: Any) -> ProductPage:
    page = ProductPage(title=title, photo=library_image(picture) if picture else None, live=live, **fields)
    home().add_child(instance=page)
    revision = page.save_revision()
    if live:
        revision.publish()
    return ProductPage.objects.get(pk=page.pk)


class TestPages(CatalogueContract, TestCase):
    def make_catalogue(self) -> WagtailCatalogue:
        return WagtailCatalogue("default", MODEL="shop.ProductPage")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        return str(page_titled(title, picture=picture, kind=category).pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        page = ProductPage.objects.get(pk=pk)
        page.photo = library_image(content, "by-hand.png")
        page.save_revision().publish()


class TestPagesWithAGallery(CatalogueContract, TestCase):
    def make_catalogue(self) -> WagtailCatalogue:
        return WagtailCatalogue("default", MODEL="shop.ShoePage")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        page = ShoePage(title=title, kind=category)
        if picture:
            page.photos = [ShoePhoto(image=library_image(picture), sort_order=0)]
        home().add_child(instance=page)
        page.save_revision().publish()
        return str(page.pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        page = ShoePage.objects.get(pk=pk)
        rows = list(page.photos.order_by("sort_order"))
        page.photos = [ShoePhoto(image=library_image(content, "by-hand.png")), *rows]
        for number, row in enumerate(page.photos.all()):
            row.sort_order = number
        page.save_revision().publish()


class TestPlainSnippets(CatalogueContract, TestCase):
    def make_catalogue(self) -> WagtailCatalogue:
        return WagtailCatalogue("default", MODEL="shop.Poster")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        image = library_image(picture) if picture else None
        return str(Poster.objects.create(name=title, category=category, image=image).pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        Poster.objects.filter(pk=pk).update(image=library_image(content, "by-hand.png"))


class TestSnippetsWithDrafts(CatalogueContract, TestCase):
    def make_catalogue(self) -> WagtailCatalogue:
        return WagtailCatalogue("default", MODEL="shop.Garment")

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        image = library_image(picture) if picture else None
        return str(Garment.objects.create(name=title, category=category, image=image).pk)

    def person_replaces(self, pk: str, content: bytes) -> None:
        garment = Garment.objects.get(pk=pk)
        garment.image = library_image(content, "by-hand.png")
        garment.save_revision().publish()


def put(page: Any, colour: str = "gold") -> Any:
    content = ContentFile(png(colour))
    return get_catalogue().publish(str(page.pk), content=content, filename="a.png", alt_text="A", placement="main")


def colour_of(page: Any) -> bytes | None:
    if page.photo is None:
        return None
    with page.photo.file.open("rb") as handle:
        return handle.read()


@pytest.fixture
def page(db: None) -> ProductPage:
    return page_titled("Dress", picture=png("navy"), intro="As published")


@pytest.fixture
def edited(page: ProductPage) -> ProductPage:
    """The page with an editor's draft that is not published."""
    page.intro = "Only a draft"
    page.title = "Dress, to be renamed"
    page.save_revision()
    return ProductPage.objects.get(pk=page.pk)


def test_a_page_is_published_with_a_revision_in_its_history(page: ProductPage) -> None:
    before = page.revisions.count()
    receipt = put(page)
    fresh = ProductPage.objects.get(pk=page.pk)
    assert colour_of(fresh) == png("gold")
    assert fresh.revisions.count() == before + 1
    assert (fresh.live, fresh.has_unpublished_changes) == (True, False)
    assert fresh.live_revision_id == fresh.latest_revision_id
    assert colour_of(fresh.get_latest_revision_as_object()) == png("gold")
    get_catalogue().withdraw(str(page.pk), receipt)
    assert colour_of(ProductPage.objects.get(pk=page.pk)) == png("navy")


def test_an_editors_draft_is_neither_published_nor_lost(edited: ProductPage) -> None:
    receipt = put(edited)
    live = ProductPage.objects.get(pk=edited.pk)
    assert (live.title, live.intro, colour_of(live)) == ("Dress", "As published", png("gold"))
    assert live.has_unpublished_changes
    draft = live.get_latest_revision_as_object()
    assert (draft.title, draft.intro) == ("Dress, to be renamed", "Only a draft")
    assert colour_of(draft) == png("gold"), "publishing the draft later would bring the old picture back"
    assert live.draft_title == "Dress, to be renamed"

    assert get_catalogue().withdraw(str(edited.pk), receipt) == WithdrawOutcome.RESTORED
    live = ProductPage.objects.get(pk=edited.pk)
    draft = live.get_latest_revision_as_object()
    assert (live.intro, colour_of(live)) == ("As published", png("navy"))
    assert (draft.intro, colour_of(draft)) == ("Only a draft", png("navy"))
    live.get_latest_revision().publish()
    live = ProductPage.objects.get(pk=edited.pk)
    assert (live.title, live.intro, colour_of(live)) == ("Dress, to be renamed", "Only a draft", png("navy"))


def test_a_gallery_in_an_editors_draft_gets_the_picture_and_stays_a_draft(db: None) -> None:
    shoe = ShoePage(title="Shoe")
    shoe.photos = [ShoePhoto(image=library_image(png("navy")), caption="Side", sort_order=0)]
    home().add_child(instance=shoe)
    shoe.save_revision().publish()
    draft = ShoePage.objects.get(pk=shoe.pk)
    draft.title = "Shoe, renamed"
    draft.photos = [*draft.photos.all(), ShoePhoto(image=library_image(png("red")), caption="Back", sort_order=1)]
    draft.save_revision()

    catalogue = WagtailCatalogue("default", MODEL="shop.ShoePage")
    content = ContentFile(png("gold"))
    receipt = catalogue.publish(str(shoe.pk), content=content, filename="a.png", alt_text="Top", placement="main")
    live = ShoePage.objects.get(pk=shoe.pk)
    assert [(row.caption, row.sort_order) for row in live.photos.order_by("sort_order")] == [("Top", 0), ("Side", 1)]
    assert (live.title, live.has_unpublished_changes) == ("Shoe", True)
    latest = live.get_latest_revision_as_object()
    assert (latest.title, [row.caption for row in latest.photos.all()]) == ("Shoe, renamed", ["Top", "Side", "Back"])
    assert catalogue.withdraw(str(shoe.pk), receipt) == WithdrawOutcome.RESTORED
    live = ShoePage.objects.get(pk=shoe.pk)
    assert [row.caption for row in live.photos.all()] == ["Side"]
    assert [row.caption for row in live.get_latest_revision_as_object().photos.all()] == ["Side", "Back"]


def test_an_editors_choice_in_a_draft_survives_the_withdrawal(page: ProductPage) -> None:
    receipt = put(page)
    draft = ProductPage.objects.get(pk=page.pk)
    draft.photo = library_image(png("red"), "red.png")
    draft.save_revision()
    assert get_catalogue().withdraw(str(page.pk), receipt) == WithdrawOutcome.RESTORED
    live = ProductPage.objects.get(pk=page.pk)
    assert colour_of(live) == png("navy")
    assert colour_of(live.get_latest_revision_as_object()) == png("red")


def test_a_page_that_is_not_live_stays_so(db: None) -> None:
    page = page_titled("Secret", picture=png("navy"), live=False)
    receipt = put(page)
    fresh = ProductPage.objects.get(pk=page.pk)
    assert not fresh.live
    assert colour_of(fresh.get_latest_revision_as_object()) == png("gold")
    assert [one.key for one in get_catalogue().pictures(str(page.pk))] == [str(receipt["placed"]["image"])]
    assert get_catalogue().withdraw(str(page.pk), receipt) == WithdrawOutcome.RESTORED
    fresh = ProductPage.objects.get(pk=page.pk)
    assert (fresh.live, colour_of(fresh.get_latest_revision_as_object())) == (False, png("navy"))


def test_a_locked_page_is_refused_and_stays_as_it_is(page: ProductPage) -> None:
    ProductPage.objects.filter(pk=page.pk).update(locked=True)
    images = Image.objects.count()
    with pytest.raises(PublishError, match="locked"):
        put(page)
    assert (colour_of(page), Image.objects.count()) == (png("navy"), images)


def test_a_scheduled_publication_is_not_forgotten(page: ProductPage) -> None:
    page.go_live_at = timezone.now() + timedelta(days=1)
    page.save_revision(approved_go_live_at=page.go_live_at)
    with pytest.raises(PublishError, match="scheduled"):
        put(page)
    assert ProductPage.objects.get(pk=page.pk).scheduled_revision is not None


def test_a_moderation_in_progress_is_not_cancelled(edited: ProductPage, admin_user: Any) -> None:
    from wagtail.models import GroupApprovalTask, WorkflowTask

    workflow = Workflow.objects.create(name="Two pairs of eyes")
    task = GroupApprovalTask.objects.create(name="Look")
    WorkflowTask.objects.create(workflow=workflow, task=task, sort_order=1)
    workflow.start(edited, admin_user)
    with pytest.raises(PublishError, match="moderation"):
        put(edited)
    assert ProductPage.objects.get(pk=edited.pk).workflow_in_progress


def test_an_alias_page_is_refused_and_follows_its_original(page: ProductPage) -> None:
    alias = page.create_alias(update_slug="mirror")
    assert [one.pk for one in get_catalogue().products()] == [str(page.pk)]
    with pytest.raises(PublishError, match="alias"):
        put(alias)
    put(page)
    assert colour_of(ProductPage.objects.get(pk=alias.pk)) == png("gold")


def test_images_go_to_the_configured_collection(page: ProductPage) -> None:
    first, second = put(page), put(page_titled("Other"))
    images = Image.objects.filter(pk__in=[first["placed"]["image"], second["placed"]["image"]])
    assert {image.collection.name for image in images} == {"Product pictures"}
    assert Collection.objects.filter(name="Product pictures").count() == 1
    assert all(image.file_hash and image.file_size for image in images)


def test_an_image_that_an_editor_uses_elsewhere_stays_in_the_library(
    page: ProductPage, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        receipt = put(page)
    image = Image.objects.get(pk=receipt["placed"]["image"])
    with django_capture_on_commit_callbacks(execute=True):
        page_titled("Other")
        other = ProductPage.objects.get(title="Other")
        other.photo = image
        other.save_revision().publish()
    with django_capture_on_commit_callbacks(execute=True):
        get_catalogue().withdraw(str(page.pk), receipt)
    assert Image.objects.filter(pk=image.pk).exists()
    assert colour_of(ProductPage.objects.get(pk=other.pk)) == png("gold")


def test_a_previous_image_that_was_deleted_leaves_no_broken_picture(page: ProductPage) -> None:
    receipt = put(page)
    Image.objects.filter(pk=receipt["previous"]["image"]).delete()
    assert get_catalogue().withdraw(str(page.pk), receipt) == WithdrawOutcome.PREVIOUS_MISSING
    assert ProductPage.objects.get(pk=page.pk).photo is None


def test_two_foreign_keys_to_images_have_to_be_told_apart() -> None:
    assert WagtailCatalogue("default", MODEL="shop.Garment").place.columns == ["image"]
    assert WagtailCatalogue("default", MODEL="shop.Garment", IMAGE_FIELD="swatch").place.columns == ["swatch"]
    assert WagtailCatalogue("default", MODEL="shop.ShoePage").place.columns == ["photos"]
    (error,) = WagtailCatalogue("default", MODEL="shop.Garment", IMAGE_FIELD="name").check()
    assert "image, swatch" in str(error.msg)


def test_the_address_is_wagtails(page: ProductPage) -> None:
    assert get_catalogue().admin_change_url(str(page.pk)) == f"/cms/pages/{page.pk}/edit/"
    poster = Poster.objects.create(name="P")
    url = WagtailCatalogue("default", MODEL="shop.Poster").admin_change_url(str(poster.pk))
    assert url == f"/cms/snippets/shop/poster/edit/{poster.pk}/"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_shop_front_and_the_tombstone() -> None:
    page = page_titled("Dress", picture=png("navy"), slug="dress")
    Site.objects.update_or_create(is_default_site=True, defaults={"hostname": "testserver", "root_page": home()})
    image = make_image(
        "approved", content=png("gold"), catalogue="default", object_pk=str(page.pk), alt_text="A golden dress"
    )
    publish_image(image=image, user=None)
    html = Client().get("/dress/").content.decode()
    assert 'alt="A golden dress"' in html
    withdrawn = withdraw_image(image=image, user=None)
    assert withdrawn.withdraw_outcome == WithdrawOutcome.RESTORED
    assert "golden" not in Client().get("/dress/").content.decode()
    second = make_image("approved", catalogue="default", object_pk=str(page.pk))
    publish_image(image=second, user=None)
    Page.objects.get(pk=page.pk).delete()
    assert ProductImage.objects.filter(product_deleted_at__isnull=False).count() == 2
    assert withdraw_image(image=second, user=None).withdraw_outcome == WithdrawOutcome.PRODUCT_GONE
