"""Uploads and imports are looked at by the request and taken in by a worker."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import connections
from django.utils import timezone

from shopgen_django.exceptions import InvalidParameters, NotAllowed, ProductNotFound, StorageFull
from shopgen_django.imaging.provenance import encode
from shopgen_django.jobs import sources
from shopgen_django.jobs.files import sweep_files
from shopgen_django.jobs.lease import claim
from shopgen_django.jobs.runner import run_job, run_lease
from shopgen_django.models import DigitalSource, ImageKind, ImageState, Job, ProductImage
from shopgen_django.operations import intake as operation
from shopgen_django.services.intake import submit_import, submit_upload
from shopgen_django.services.jobs import cancel_job, retry_job
from shopgen_django.storage import private_storage, read_image
from tests.factories import make_user, picture, picture_bytes
from tests.testshop.models import Category, Garment, GarmentPhoto, Product

pytestmark = pytest.mark.django_db(transaction=True)


def incoming(settings: Any) -> list[Path]:
    return [path for path in Path(settings.SHOPGEN["ROOT"]).rglob("*.upload") if path.is_file()]


def files_under(root: str) -> list[Path]:
    return [path for path in Path(root).rglob("*") if path.is_file()]


def upload(**fields: Any) -> Job:
    return submit_upload(source=fields.pop("source", None) or picture_bytes(), **fields)[0]


def done(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def product_with_photo(name: str = "Straw hat", content: bytes | None = None) -> Product:
    product = Product.objects.create(name=name, category=Category.objects.get_or_create(name="Hat")[0])
    product.image.save("hat.png", ContentFile(content or picture_bytes()))
    return product


# -- uploads ----------------------------------------------------------------------------------------


def test_an_upload_waits_and_becomes_a_source(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    product = product_with_photo()
    with monkeypatch.context() as patched:
        patched.setattr("shopgen_django.imaging.intake.normalise_bounded", lambda *args: pytest.fail("decoded"))
        patched.setattr("PIL.ImageFile.ImageFile.load", lambda *args: pytest.fail("decoded"))
        job = upload(object_pk=product.pk, alt_text="A hat", name="C:\\photos\\hat.png")
    assert (job.state, job.params["name"], job.product_label) == ("queued", "hat.png", "Straw hat")
    assert len(incoming(settings)) == 1 and not ProductImage.objects.exists()
    job = done(job)
    image = ProductImage.objects.get()
    assert (job.state, job.result) == ("succeeded", {
        "images": [str(image.pk)], "new": 1, "known": 0, "problems": [],
    })  # fmt: skip
    assert (image.kind, image.state, image.category) == (ImageKind.SOURCE, ImageState.DRAFT, "Hat")
    assert (image.object_pk, image.alt_text, image.job) == (str(product.pk), "A hat", job)
    assert image.content_type is not None and image.content_type.model_class() is Product
    assert len(read_image(image)) == image.bytes
    assert incoming(settings) == [], "what came in is not kept"


def test_what_the_file_says_of_its_origin_is_kept() -> None:
    made = encode(
        picture(), format="JPEG", digital_source_type="trainedAlgorithmicMedia", software="another program", extra={}
    )
    done(upload(source=made))
    assert ProductImage.objects.get().digital_source == DigitalSource.TRAINED


@pytest.mark.parametrize("content", [b"<html>", b"", picture_bytes()[:120]])
def test_what_can_be_seen_to_be_wrong_is_refused_at_once(settings: Any, content: bytes) -> None:
    with pytest.raises(InvalidParameters) as caught:
        submit_upload(source=content)
    assert caught.value.fields["file"]
    assert files_under(settings.SHOPGEN["ROOT"]) == [] and not Job.objects.exists()


def test_what_only_decoding_shows_fails_the_job_with_its_code(settings: Any) -> None:
    content = picture_bytes("PNG", width=300, height=300)
    broken = bytearray(content)
    start = broken.index(b"IDAT") + 8
    broken[start : start + 8] = b"\xff" * 8
    job = done(upload(source=with_checksums(bytes(broken))))
    assert (job.state, job.error_code) == ("failed", "corrupt")
    assert job.attempt == 1, "trying again can't help"
    assert files_under(settings.SHOPGEN["ROOT"]) == []


def with_checksums(png: bytes) -> bytes:
    """Damage that the structure does not show: chunks carry right checksums over wrong data."""
    import struct
    import zlib

    out, at = [png[:8]], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind_and_data = png[at + 4 : at + 8 + length]
        out.append(struct.pack(">I", length) + kind_and_data + struct.pack(">I", zlib.crc32(kind_and_data)))
        at += 12 + length
    return b"".join(out)


def test_a_cancelled_or_failed_upload_can_be_tried_again_for_a_while(settings: Any) -> None:
    job = cancel_job(job=upload())
    assert len(incoming(settings)) == 1
    retry_job(job=job)
    assert done(job).state == "succeeded"
    gone = cancel_job(job=upload(source=picture_bytes(colour="#aa2211")))
    (path,) = incoming(settings)
    path.unlink()
    retry_job(job=gone)
    assert (done(gone).state, gone.error_code) == ("failed", "upload_gone")


def test_orphans_are_swept_and_waiting_uploads_are_not(settings: Any) -> None:
    waiting, over = upload(), cancel_job(job=upload(source=picture_bytes(colour="#aa2211")))
    assert sweep_files() == 0, "not old enough"
    settings.SHOPGEN = {**settings.SHOPGEN, "RETENTION": {"ORPHAN_FILES_HOURS": -1}}
    assert sweep_files() == 1
    assert [path.name.startswith(str(waiting.pk)) for path in incoming(settings)] == [True]
    assert not private_storage().exists(over.params["file"])


def test_a_full_disk_while_taking_in_is_no_refusal(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = upload()

    def full(name: str, content: bytes, storage: Any = None) -> str:
        raise StorageFull("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(sources, "save_bytes", full)
        job = done(job)
    assert (job.state, job.error_code) == ("queued", "storage_full")
    Job.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert done(job).state == "succeeded"
    assert len(incoming(settings)) == 0


def test_a_worker_that_lost_its_job_leaves_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = upload()
    lease = claim(worker="slow", queue=job.queue)
    assert lease is not None
    original = sources.store_source

    def late(source: Any) -> Any:
        written = original(source)
        Job.objects.filter(pk=job.pk).update(attempt=2, worker="other")  # somebody else has claimed it
        return written

    with monkeypatch.context() as patched:
        patched.setattr(sources, "store_source", late)
        assert run_lease(lease) == "lost"
    assert not ProductImage.objects.exists()
    assert files_under(settings.SHOPGEN["ROOT"]) == incoming(settings), "the file of the lost attempt is gone"
    assert len(incoming(settings)) == 1, "the other worker needs it"


def test_products_that_are_gone(settings: Any) -> None:
    with pytest.raises(ProductNotFound):
        upload(object_pk=999)
    product = product_with_photo()
    job = upload(object_pk=product.pk)
    product.delete()
    assert (done(job).state, job.error_code) == ("failed", "product_not_found")


def test_adding_needs_its_permission() -> None:
    nobody = make_user("nobody", "submit_job")
    with pytest.raises(NotAllowed):
        upload(user=nobody)
    with pytest.raises(NotAllowed):
        submit_import(products=[1], user=nobody)
    assert done(upload(user=make_user("anna", "add_productimage"))).state == "succeeded"


def test_the_same_file_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = done(upload())
    with monkeypatch.context() as patched:
        patched.setattr("shopgen_django.imaging.intake.normalise_bounded", lambda *args: pytest.fail("decoded"))
        again = done(upload())
    assert again.result == {**first.result, "new": 0, "known": 1}
    assert ProductImage.objects.count() == 1
    other = done(upload(source=picture_bytes("PNG", mode="RGBA")))
    assert other.result["images"] == first.result["images"], "another file, the same picture"


def test_the_same_picture_of_somebody_else_is_not_handed_out() -> None:
    anna, bert = make_user("anna", "add_productimage"), make_user("bert", "add_productimage")
    hers, his = (done(upload(user=user)).result["images"] for user in (anna, bert))
    assert hers != his
    editor = make_user("editor", "add_productimage", "view_productimage")
    assert done(upload(user=editor)).result["images"] == hers


def test_two_workers_make_one_row_of_the_same_picture(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked and found nothing before either writes."""
    jobs = [upload(), upload()]
    leases = [claim(worker=f"w{number}", queue=job.queue) for number, job in enumerate(jobs)]
    both_ready = threading.Barrier(2, timeout=30)
    write = sources.write_sources

    def together(*args: Any, **kwargs: Any) -> bool:
        both_ready.wait()
        return write(*args, **kwargs)

    monkeypatch.setattr("shopgen_django.jobs.runner.write_sources", together)
    outcomes: list[str] = []

    def work(lease: Any) -> None:
        try:
            outcomes.append(run_lease(lease))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["succeeded", "succeeded"]
    image = ProductImage.objects.get()
    results = list(Job.objects.values_list("result", flat=True))
    assert [result["images"] for result in results] == [[str(image.pk)]] * 2
    assert sorted(result["new"] for result in results) == [0, 1]
    assert len(files_under(str(Path(settings.SHOPGEN["ROOT"]) / "files"))) == 1


# -- imports ----------------------------------------------------------------------------------------


def test_a_product_s_photo_is_imported_once() -> None:
    product = product_with_photo()
    first, second = (done(submit_import(products=[product.pk]).jobs[0]) for _ in range(2))
    assert first.result["images"] == second.result["images"]
    image = ProductImage.objects.get()
    assert (image.product_label, image.category, image.object_pk) == ("Straw hat", "Hat", str(product.pk))
    with pytest.raises(ProductNotFound):
        submit_import(products=[999])


def test_one_picture_that_cannot_be_read_keeps_no_other_out(settings: Any) -> None:
    settings.SHOPGEN = {
        **settings.SHOPGEN, "CATALOGUES": {"default": {"OPTIONS": {"MODEL": "testshop.Garment"}}},
    }
    garment = Garment.objects.create(title="Coat")
    lost: Any = None
    for position, content in enumerate((b"GIF89a and more", picture_bytes(), picture_bytes(colour="#aa3333"), b"x")):
        lost = GarmentPhoto(garment=garment, position=position)
        lost.photo.save(f"{position}.png", ContentFile(content))
    Path(lost.photo.path).unlink()
    job = done(submit_import(products=[garment.pk]).jobs[0])
    assert (job.state, len(job.result["images"])) == ("succeeded", 2)
    assert [problem["code"] for problem in job.problems] == ["unsupported_type", "file_missing"]
    assert {problem["label"] for problem in job.problems} == {"Coat"}


def test_a_single_product_without_a_photo_fails_with_the_reason() -> None:
    bare = Product.objects.create(name="Hat")
    job = done(submit_import(products=[bare.pk]).jobs[0])
    assert (job.state, job.error_code) == ("failed", "no_pictures")


def test_an_import_of_any_size_is_split_and_not_queued_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    Product.objects.bulk_create(Product(name=f"Hat {number}") for number in range(230))
    user = make_user("anna", "add_productimage")
    asked = submit_import(user=user)
    (whole,) = asked.jobs
    assert submit_import(user=user).is_new is False
    whole = done(whole)
    assert (whole.state, whole.result["products"], whole.result["parts"]) == ("succeeded", 230, 5)
    parts = Job.objects.active()
    assert [len(job.params["products"]) for job in parts.order_by("created_at", "id")].count(50) == 4
    assert {(job.batch, job.created_by, job.operation) for job in parts} == {(whole.batch, user, "import_photos")}
    again = submit_import(user=user)
    assert (again.is_new, again.batch, len(again.jobs)) == (False, whole.batch, 5)
    part = parts.order_by("created_at", "id").first()
    assert part is not None
    part = done(part)
    assert (part.state, len(part.problems)) == ("succeeded", len(part.params["products"]))
    chosen = submit_import(products=list(Product.objects.values_list("pk", flat=True)[:120]), user=user)
    assert [len(job.params["products"]) for job in chosen.jobs] == [50, 50, 20]


def test_a_part_that_is_cancelled_in_between_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    products = [product_with_photo(f"Hat {number}") for number in range(3)]
    (job,) = submit_import(products=[product.pk for product in products]).jobs
    taken = operation.take_in

    def cancel_then(*args: Any) -> Any:
        Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
        return taken(*args)

    monkeypatch.setattr(operation, "take_in", cancel_then)
    assert done(job).state == "cancelled"
    assert not ProductImage.objects.exists()


def test_what_follows_is_queued_with_the_import_s_end() -> None:
    product = product_with_photo()
    user = make_user("anna", "add_productimage", "submit_job")
    then = {"operation": "fit", "params": {"sizes": ["thumbnail_400"]}}
    imports = done(submit_import(products=[product.pk], then=then, user=user).jobs[0])
    follower = Job.objects.exclude(pk=imports.pk).get()
    assert (follower.operation, follower.batch, follower.created_by) == ("fit", imports.batch, user)
    assert [str(key) for key in follower.inputs.values_list("pk", flat=True)] == imports.result["images"]
    assert done(follower).state == "succeeded"
    ProductImage.objects.filter(kind="source").update(state="rejected")
    again = done(submit_import(products=[product.pk], then=then, user=user).jobs[0])
    assert (again.state, [row["code"] for row in again.problems]) == ("succeeded", ["invalid_state"])


def test_the_row_outlives_its_job_and_an_old_row_learns_where_it_came_from() -> None:
    job = done(upload())
    job.delete()
    image = ProductImage.objects.get()
    assert image.job is None
    ProductImage.objects.update(origin_sha256="")  # as imported by an earlier version
    assert done(upload()).result["images"] == [str(image.pk)]
    image.refresh_from_db()
    assert len(image.origin_sha256) == 64


def test_no_request_takes_pictures_in_by_itself() -> None:
    """What decodes at once is for commands and scripts; screens and HTTP queue."""
    root = Path(sources.__file__).parents[1]
    at_once = ("import_picture", "import_from_catalogue", "take_in(", "normalise_bounded", "BoundedDecoder")
    modules = [path for folder in ("admin", "api") for path in (root / folder).rglob("*.py")]
    assert len(modules) > 30
    assert [path.name for path in modules for word in at_once if word in path.read_text(encoding="utf-8")] == []


def test_a_shop_s_storage_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One outage must not refuse every photo that is left: the import is tried again as a whole."""
    product = product_with_photo()
    field: Any = Product._meta.get_field("image")

    class Away(InMemoryStorage):
        def open(self, name: str, mode: str = "rb") -> Any:
            raise RuntimeError("503 Slow Down")

    job = submit_import(products=[product.pk]).jobs[0]
    with monkeypatch.context() as patch:
        patch.setattr(field, "storage", Away())
        assert run_job(job.pk) == "requeued"
    job.refresh_from_db()
    assert job.error_code == "storage_unavailable" and not ProductImage.objects.exists()
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    assert run_job(job.pk) == "succeeded" and ProductImage.objects.count() == 1
