"""Pictures come in checked, made anew, once."""

from __future__ import annotations

import errno
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from PIL import Image

from shopgen_django import storage
from shopgen_django.exceptions import (
    FileMissing,
    InvalidParameters,
    InvalidState,
    NotAllowed,
    ProductNotFound,
    StorageFull,
)
from shopgen_django.imaging.provenance import encode
from shopgen_django.models import DigitalSource, ImageKind, ImageState, Job, JobInput, ProductImage
from shopgen_django.services.images import delete_image, import_from_catalogue, import_picture
from shopgen_django.storage import private_storage, read_image
from tests.factories import make_image, make_user, picture, picture_bytes
from tests.testshop.models import Category, Garment, GarmentPhoto, Product

pytestmark = pytest.mark.django_db


def files_under(root: str) -> list[Path]:
    return [path for path in Path(root).rglob("*") if path.is_file()]


def test_an_upload_becomes_a_clean_source(settings: Any) -> None:
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret description"
    picture(120, 80).save(buffer, "JPEG", exif=exif)
    image = import_picture(source=buffer.getvalue(), category="Hat", alt_text="A hat")
    assert (image.kind, image.state, image.category) == (ImageKind.SOURCE, ImageState.DRAFT, "Hat")
    assert (image.width, image.height) == (80, 120), "turned upright"
    content = read_image(image)
    assert b"secret" not in content
    assert image.bytes == len(content)
    assert not str(Path(image.file.path)).startswith(str(settings.MEDIA_ROOT)), "no public address"


def test_a_generated_picture_stays_marked_when_it_comes_back_in() -> None:
    content = encode(
        picture(), format="JPEG", digital_source_type="trainedAlgorithmicMedia", software="another program", extra={}
    )
    image = import_picture(source=content)
    assert image.digital_source == DigitalSource.TRAINED
    assert import_picture(source=picture_bytes()).digital_source == DigitalSource.UNKNOWN


def test_what_is_no_picture_is_refused_and_leaves_nothing(settings: Any) -> None:
    with pytest.raises(InvalidParameters) as caught:
        import_picture(source=b"<html><script>alert(1)</script></html>")
    assert caught.value.code == "unsupported_type"
    assert caught.value.fields["file"]
    assert not ProductImage.objects.exists()
    assert files_under(settings.SHOPGEN["ROOT"]) == []


def test_a_product_s_photo_is_imported_once() -> None:
    product = Product.objects.create(name="Straw hat", category=Category.objects.create(name="Hat"))
    product.image.save("hat.png", ContentFile(picture_bytes()))
    first = import_from_catalogue(object_pk=product.pk)
    second = import_from_catalogue(object_pk=product.pk)
    assert [image.pk for image in first] == [image.pk for image in second]
    assert (first[0].product_label, first[0].category, first[0].object_pk) == ("Straw hat", "Hat", str(product.pk))
    assert first[0].content_type.model_class() is Product
    with pytest.raises(ProductNotFound):
        import_from_catalogue(object_pk=999)


def test_a_full_disk_is_told_and_leaves_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageFull):
        import_picture(source=picture_bytes())
    assert not ProductImage.objects.exists()
    assert files_under(settings.SHOPGEN["ROOT"]) == []


def test_a_file_that_was_changed_or_lost_is_not_used() -> None:
    image = make_image("approved")
    Path(image.file.path).write_bytes(b"something else")
    with pytest.raises(FileMissing, match="SHA-256"):
        read_image(image)
    Path(image.file.path).unlink()
    with pytest.raises(FileMissing, match="missing"):
        read_image(image)


def test_adding_needs_its_permission() -> None:
    with pytest.raises(NotAllowed):
        import_picture(source=picture_bytes(), user=make_user("nobody"))
    assert import_picture(source=picture_bytes(), user=make_user("anna", "add_productimage")).created_by is not None


def test_deleting_takes_the_file_along(django_capture_on_commit_callbacks: Any) -> None:
    image = make_image()
    name = str(image.file.name)
    with django_capture_on_commit_callbacks(execute=True):
        delete_image(image=image)
    assert not private_storage().exists(name)


def test_a_picture_that_a_job_uses_or_that_is_published_stays(django_capture_on_commit_callbacks: Any) -> None:
    image = make_image()
    JobInput.objects.create(job=Job.objects.create(operation="fit"), image=image)
    published = make_image(ImageState.PUBLISHED)
    published.publications.create(catalogue="default", object_pk="1")
    for kept in (image, published):
        with django_capture_on_commit_callbacks(execute=True), pytest.raises(InvalidState):
            delete_image(image=kept)
        assert ProductImage.objects.filter(pk=kept.pk).exists()
        assert private_storage().exists(str(kept.file.name))


def test_one_picture_that_cannot_be_read_keeps_no_other_out(settings: Any) -> None:
    settings.SHOPGEN = {
        **settings.SHOPGEN, "CATALOGUES": {"default": {"OPTIONS": {"MODEL": "testshop.Garment"}}},
    }
    garment = Garment.objects.create(title="Coat")
    for position, content in enumerate((b"GIF89a and more", picture_bytes(), picture_bytes(colour="#aa3333"))):
        photo = GarmentPhoto(garment=garment, position=position)
        photo.photo.save(f"{position}.png", ContentFile(content))
    with pytest.raises(InvalidParameters, match="GIF"):
        import_from_catalogue(object_pk=garment.pk)
    assert ProductImage.objects.count() == 2
    written = str(garment.pk).replace("-", "").upper()
    again = import_picture(source=picture_bytes(), catalogue="default", object_pk=written)
    assert again.object_pk == str(garment.pk), "a key is stored as the product writes it"
    assert ProductImage.objects.count() == 2


def test_the_same_picture_of_somebody_else_is_not_handed_out() -> None:
    anna, bert = make_user("anna", "add_productimage"), make_user("bert", "add_productimage")
    hers, his = (import_picture(source=picture_bytes(), user=user) for user in (anna, bert))
    assert hers != his
    assert his.created_by == bert
    assert import_picture(source=picture_bytes(), user=anna) == hers
    editor = make_user("editor", "add_productimage", "view_productimage")
    assert import_picture(source=picture_bytes(), user=editor) == hers


def test_a_product_that_came_back_under_its_old_key_gets_its_photo_anew() -> None:
    product = Product.objects.create(name="Coat")
    key = product.pk
    first = import_picture(source=picture_bytes(), object_pk=key)
    product.delete()
    Product.objects.create(pk=key, name="Coat")
    second = import_picture(source=picture_bytes(), object_pk=key)
    assert second != first
    assert second.has_product
