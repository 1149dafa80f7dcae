"""Work is queued from pictures, from products and from nothing; once, all or none, and only by those who may."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from shopgen_django.admin.products import ACTIONS, ShopgenProductActions, attach_actions
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ModelVersion, ProductImage
from tests.factories import make_image, make_user, picture_bytes
from tests.testshop.models import Category, Garment, Product

from .conftest import as_user, make_job


@pytest.fixture
def model(db: None) -> ModelVersion:
    from django.utils import timezone

    return ModelVersion.objects.create(
        name="dresses", version=1, folder="/nowhere", weights_sha256="0" * 64, weights_bytes=1, is_active=True,
        activated_at=timezone.now(),
    )


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found
    return found[1]


GENERATE = {"operation": "generate", "shown": "generate", "p-count": "3", "p-truncation": "0.7", "queue": "1"}


def test_queue_page_queues_one_job(desk: Client, model: ModelVersion, product: Product) -> None:
    address = reverse("admin:shopgen_job_queue")
    page = desk.get(address, {"catalogue": "default", "product": product.pk}).content.decode()
    assert "1 job, 4 new pictures" in page
    body = {**GENERATE, "catalogue": "default", "product": product.pk, "token": token_of(page)}
    answer = desk.post(address, body)
    job = Job.objects.get()
    assert answer.status_code == 302 and answer["Location"].endswith(f"?batch={job.batch}")
    assert (job.params["count"], job.object_pk, job.product_label) == (3, str(product.pk), "Green dress")
    assert "1 job was queued." in desk.get(answer["Location"]).content.decode()
    desk.post(address, body)
    assert Job.objects.count() == 1, "pressing the button twice queues it once"
    page = desk.post(address, {**body, "p-count": "5"}).content.decode()
    assert "has queued its work once already" in page and Job.objects.count() == 1
    desk.post(address, {**body, "p-count": "5", "token": token_of(page)})
    assert Job.objects.count() == 2, "after being asked again"


def test_wrong_parameters_are_told_at_their_field(desk: Client, model: ModelVersion) -> None:
    page = desk.post(reverse("admin:shopgen_job_queue"), {**GENERATE, "p-count": "1000"}).content.decode()
    assert "less than or equal to 64" in page and not Job.objects.exists()


def test_estimate_writes_nothing(desk: Client, model: ModelVersion) -> None:
    body = {**GENERATE, "estimate": "1"}
    del body["queue"]
    page = desk.post(reverse("admin:shopgen_job_queue"), body).content.decode()
    assert "1 job, 3 new pictures" in page and not Job.objects.exists()


def test_pictures_are_worked_on_one_job_each(desk: Client) -> None:
    photos = [make_image("draft", kind="source", colour=colour) for colour in ("#110000", "#220000")]
    page = desk.post(
        reverse("admin:shopgen_productimage_changelist"),
        {"action": "run_operation", "_selected_action": [str(photo.pk) for photo in photos]},
    ).content.decode()
    assert "For 2 pictures" in page and "2 jobs" in page
    body = {
        "operation": "fit", "shown": "fit", "pk": [str(photo.pk) for photo in photos], "token": token_of(page),
        "queue": "1", **_fit_defaults(),
    }
    desk.post(reverse("admin:shopgen_productimage_run"), body)
    jobs = list(Job.objects.all())
    assert len(jobs) == 2 and len({job.batch for job in jobs}) == 1
    assert {job.inputs.get() for job in jobs} == set(photos)


def _fit_defaults() -> dict[str, Any]:
    from shopgen_django.operations.registry import get_operation

    defaults = get_operation("fit").Parameters.defaults()
    return {f"p-{name}": value for name, value in defaults.items() if value is not None}


def test_all_or_none(desk: Client) -> None:
    """One of the pictures was rejected: nothing is queued, the page says which and keeps the rest chosen."""
    good, bad = make_image("draft", colour="#110000"), make_image("rejected", colour="#220000")
    body = {
        "operation": "fit", "shown": "fit", "pk": [str(good.pk), str(bad.pk)], "queue": "1", **_fit_defaults(),
    }
    page = desk.post(reverse("admin:shopgen_productimage_run"), body).content.decode()
    assert "rejected picture can&#x27;t be used" in page and f'value="{good.pk}" checked' in page
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_queueing_needs_its_permission() -> None:
    client = as_user(make_user("viewer", "view_productimage", "view_job"))
    image = make_image("draft")
    assert client.get(reverse("admin:shopgen_job_queue")).status_code == 403
    assert client.post(reverse("admin:shopgen_job_queue"), GENERATE).status_code == 403
    assert client.post(reverse("admin:shopgen_productimage_run"), {"pk": image.pk}).status_code == 403
    product = Product.objects.create(name="Hat")
    body = {"catalogue": "default", "product": product.pk}
    assert client.post(reverse("admin:shopgen_products_run"), body).status_code == 403
    assert client.post(reverse("admin:shopgen_products_import"), body).status_code == 403
    assert not Job.objects.exists()


# -- the shop's own product list --------------------------------------------------------------------


class PlainAdmin(admin.ModelAdmin):
    pass


class MixedAdmin(ShopgenProductActions, admin.ModelAdmin):
    pass


def site_with(model: Any, admin_class: Any) -> admin.AdminSite:
    site = admin.AdminSite(name="admin")
    site.register(model, admin_class)
    site.register(ProductImage, type(admin.site.get_model_admin(ProductImage)))
    site.register(Job, type(admin.site.get_model_admin(Job)))
    return site


def request_of(user: Any, rf: Any) -> Any:
    request = rf.get("/")
    request.user = user
    return request


def action_names(site: admin.AdminSite, model: Any, user: Any, rf: Any) -> set[str]:
    found = site.get_model_admin(model).get_actions(request_of(user, rf))
    return {name for name in found if name.startswith("shopgen_")}


def test_actions_appear_on_the_shops_own_list(boss: Any, rf: Any) -> None:
    site = site_with(Product, PlainAdmin)
    assert action_names(site, Product, boss, rf) == set()
    assert site.urls  # what a URLconf reads
    assert action_names(site, Product, boss, rf) == {action.__name__ for action in ACTIONS}
    attach_actions(site)
    names = [action.__name__ for action in site.get_model_admin(Product).actions]
    assert len(names) == len(set(names)), "attached once however often"
    assert PlainAdmin.actions == () or not PlainAdmin.actions, "the shop's class is left alone"


def test_actions_do_not_appear_on_other_lists(boss: Any, rf: Any) -> None:
    site = site_with(Garment, PlainAdmin)
    assert site.urls and action_names(site, Garment, boss, rf) == set()


def test_setting_switches_them_off_and_the_mixin_works_without(settings: Any, boss: Any, rf: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ADMIN_ACTIONS": False}
    plain, mixed = site_with(Product, PlainAdmin), site_with(Product, MixedAdmin)
    assert plain.urls and mixed.urls
    assert action_names(plain, Product, boss, rf) == set()
    assert action_names(mixed, Product, boss, rf) == {action.__name__ for action in ACTIONS}


@pytest.mark.django_db
@pytest.mark.parametrize("admin_class", [PlainAdmin, MixedAdmin])
def test_product_actions_need_permissions(rf: Any, admin_class: Any) -> None:
    site = site_with(Product, admin_class)
    assert site.urls
    assert action_names(site, Product, make_user("viewer", "view_productimage"), rf) == set()
    assert action_names(site, Product, make_user("importer", "add_productimage"), rf) == {"shopgen_import_photos"}
    assert action_names(site, Product, make_user("maker", "submit_job"), rf) == {"shopgen_generate", "shopgen_fit"}


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_open_their_page_and_know_the_way_back(
    boss: Any, rf: Any, model: ModelVersion, product: Product, action: Any
) -> None:
    request = rf.post("/admin/testshop/product/?q=green")
    request.user = boss
    request._messages = CookieStorage(request)
    answer = action(PlainAdmin(Product, admin.site), request, Product.objects.all())
    page = answer.render().content.decode()
    assert "Green dress" in page and 'name="next" value="/admin/testshop/product/?q=green"' in page


def run_all() -> None:
    """Do the work that waits, as a worker would, and what follows from it."""
    while job := Job.objects.filter(state="queued").first():
        assert run_job(job.pk) != "skipped"


def test_import_asks_and_imports_once(desk: Client, product: Product) -> None:
    address = reverse("admin:shopgen_products_import")
    body = {"catalogue": "default", "product": str(product.pk)}
    page = desk.post(address, body).content.decode()
    assert "Import the photos of 1 product" in page and not Job.objects.exists()
    page = desk.post(address, {**body, "confirm": "1"}, follow=True).content.decode()
    assert "The import of the photos of 1 product is queued." in page and "0 of 1 job is done" in page
    assert "no worker is running" in page and not ProductImage.objects.exists()
    page = desk.post(address, {**body, "confirm": "1"}, follow=True).content.decode()
    assert "under way already" in page and Job.objects.count() == 1
    waiting = desk.get(reverse("admin:shopgen_productimage_changelist")).content.decode()
    assert "1 job is bringing in photos" in waiting and "no worker is running" in waiting
    run_all()
    image = ProductImage.objects.get()
    assert (image.kind, image.object_pk, image.product_label) == ("source", str(product.pk), "Green dress")
    desk.post(address, {**body, "confirm": "1"})
    run_all()
    assert ProductImage.objects.count() == 1
    again = Job.objects.first()
    assert again is not None and again.result["images"] == [str(image.pk)]
    page = desk.get(reverse("admin:shopgen_job_change", args=[again.pk])).content.decode()
    assert "0 new photos, 1 was there already" in page and str(image.pk) in page


def test_import_tells_what_it_could_not(desk: Client, product: Product) -> None:
    bare = Product.objects.create(name="Hat without photo", category=Category.objects.get())
    body = {"catalogue": "default", "product": [str(product.pk), str(bare.pk)], "confirm": "1"}
    desk.post(reverse("admin:shopgen_products_import"), body)
    run_all()
    job = Job.objects.get()
    page = desk.get(reverse("admin:shopgen_job_changelist"), {"batch": str(job.batch)}).content.decode()
    assert "1 of 1 job is done" in page and "1 new photo" in page
    assert "Hat without photo</strong>: The product has no picture in the shop." in page


def test_a_whole_catalogue_gets_in(desk: Client, product: Product, monkeypatch: Any) -> None:
    """In parts, each a job; nothing twice by a second click; what did not come in is listed in one place."""
    monkeypatch.setattr("shopgen_django.jobs.runner.PRODUCTS_PER_JOB", 2)
    monkeypatch.setattr("shopgen_django.jobs.sources.PRODUCTS_PER_JOB", 2)
    for number in range(4):
        Product.objects.create(name=f"Hat {number}", category=product.category)
    page = desk.get(reverse("admin:shopgen_products")).content.decode()
    assert "Import the whole catalogue…" in page
    address, body = reverse("admin:shopgen_products_import"), {"catalogue": "default", "everything": "1"}
    page = desk.post(address, body).content.decode()
    assert "All products on offer" in page and not Job.objects.exists()
    desk.post(address, {**body, "confirm": "1"})
    whole = Job.objects.get()
    run_job(whole.pk)
    parts = Job.objects.exclude(pk=whole.pk)
    assert [len(job.params["products"]) for job in parts] == [1, 2, 2] and {job.batch for job in parts} == {whole.batch}
    page = desk.post(address, {**body, "confirm": "1"}, follow=True).content.decode()
    assert "under way already" in page and "1 of 4 jobs are done" in page and parts.count() == 3
    run_all()
    page = desk.get(reverse("admin:shopgen_job_changelist"), {"batch": str(whole.batch)}).content.decode()
    assert "4 of 4 jobs are done" in page and "1 new photo" in page and "5 products found, in 3 parts" in page
    assert all(f"Hat {number}</strong>" in page for number in range(4))
    assert ProductImage.objects.count() == 1


def test_more_products_than_a_page_lists(desk: Client, product: Product, monkeypatch: Any) -> None:
    monkeypatch.setattr("shopgen_django.admin.products.MAX_PRODUCTS", 1)
    others = [str(Product.objects.create(name=f"Hat {number}").pk) for number in range(2)]
    address, keys = reverse("admin:shopgen_products_import"), [str(product.pk), *others]
    page = desk.post(address, {"catalogue": "default", "product": keys}).content.decode()
    packed = re.search(r'name="packed" value="([^"]+)"', page)
    assert packed and "Import the photos of 3 products" in page
    sent = {"catalogue": "default", "packed": html.unescape(packed.group(1)), "confirm": "1"}
    desk.post(address, sent)
    assert Job.objects.get().params["products"] == keys


def test_fitting_products_imports_their_photos_first(desk: Client, product: Product) -> None:
    body = {"catalogue": "default", "product": str(product.pk), "run": "fit"}
    page = desk.post(reverse("admin:shopgen_products_run"), body).content.decode()
    assert "The photos of 1 product are imported first" in page
    assert not ProductImage.objects.exists()
    body |= {"operation": "fit", "shown": "fit", "queue": "1", "token": token_of(page), **_fit_defaults()}
    for _click in range(2):
        desk.post(reverse("admin:shopgen_products_run"), body)
    imports = Job.objects.get()
    assert (imports.operation, imports.object_pk) == ("import_photos", str(product.pk))
    run_job(imports.pk)
    fit = Job.objects.get(operation="fit")
    assert fit.inputs.get().object_pk == str(product.pk) and fit.batch == imports.batch
    assert fit.created_by == imports.created_by
    desk.post(reverse("admin:shopgen_products_run"), body)
    assert Job.objects.count() == 2, "the page has queued its work once"
    run_all()
    assert ProductImage.objects.results().get().state == "in_review"


def test_uploading_photos(desk: Client, product: Product) -> None:
    address = reverse("admin:shopgen_upload")
    assert "Upload photos" in desk.get(reverse("admin:shopgen_productimage_changelist")).content.decode()
    assert 'type="file"' in desk.get(address).content.decode()
    files = [
        SimpleUploadedFile("one.png", picture_bytes()), SimpleUploadedFile("two.png", picture_bytes(colour="#aa2222")),
    ]
    answer = desk.post(address, {"files": files, "object_pk": "green", "catalogue": "default"}, follow=True)
    page = answer.content.decode()
    assert "2 photos are uploaded." in page and "0 of 2 jobs are done" in page and "no worker is running" in page
    run_all()
    assert set(ProductImage.objects.values_list("object_pk", "kind")) == {(str(product.pk), "source")}
    assert ProductImage.objects.count() == 2
    files = [SimpleUploadedFile("page.png", b"<html>"), SimpleUploadedFile("three.png", picture_bytes())]
    page = desk.post(address, {"files": files, "catalogue": "default"}).content.decode()
    assert "page.png</strong>: This is a text or SVG file" in page and "1 photo is uploaded." in page
    for wrong in ({"files": files, "object_pk": "no such"}, {"object_pk": "green"}):
        page = desk.post(address, {"catalogue": "default", **wrong}).content.decode()
        assert 'class="errorlist' in page
    assert Job.objects.count() == 3


@pytest.mark.django_db
def test_uploading_needs_its_permission_and_shows_one_s_own_jobs() -> None:
    viewer = as_user(make_user("viewer", "view_productimage"))
    assert viewer.get(reverse("admin:shopgen_upload")).status_code == 403
    uploader = as_user(make_user("uploader", "add_productimage"))
    sent = {"files": [SimpleUploadedFile("one.png", picture_bytes())], "catalogue": "default"}
    assert uploader.post(reverse("admin:shopgen_upload"), sent, follow=True).status_code == 200
    job = Job.objects.get()
    assert uploader.post(reverse("admin:shopgen_job_verb", args=[job.pk, "cancel"])).status_code == 302
    job.refresh_from_db()
    assert job.state == "cancelled"


# -- jobs -------------------------------------------------------------------------------------------


def test_cancel_and_retry(desk: Client) -> None:
    waiting, failed = make_job(), make_job("failed")
    page = desk.post(
        reverse("admin:shopgen_job_changelist"),
        {"action": "cancel_jobs", "_selected_action": [str(waiting.pk), str(failed.pk)]}, follow=True,
    ).content.decode()
    assert "1 job is cancelled." in page and "already finished" in page
    page = desk.post(reverse("admin:shopgen_job_verb", args=[failed.pk, "retry"]), follow=True).content.decode()
    assert "in the queue again" in page
    failed.refresh_from_db()
    assert failed.state == "queued"


@pytest.mark.django_db
def test_jobs_of_others_need_their_permissions() -> None:
    owner = make_user("owner", "submit_job")
    mine, other = make_job(created_by=owner), make_job()
    client = as_user(owner)
    page = client.get(reverse("admin:shopgen_job_changelist")).content.decode()
    assert str(mine.pk) in page and str(other.pk) not in page
    assert client.post(reverse("admin:shopgen_job_verb", args=[other.pk, "cancel"])).status_code == 404
    viewer = as_user(make_user("viewer", "view_job"))
    assert viewer.post(reverse("admin:shopgen_job_verb", args=[mine.pk, "cancel"])).status_code == 403
    assert client.post(reverse("admin:shopgen_job_verb", args=[mine.pk, "cancel"])).status_code == 302
    mine.refresh_from_db()
    assert mine.state == "cancelled"


def test_live_answers_for_the_asked_rows(desk: Client) -> None:
    running, other = make_job("running", progress=0.42, stage="generate"), make_job("failed")
    answer = desk.get(reverse("admin:shopgen_job_live"), {"id": [str(running.pk), "nonsense"]}).json()
    assert set(answer["jobs"]) == {str(running.pk)} and str(other.pk) not in answer["jobs"]
    job = answer["jobs"][str(running.pk)]
    assert (job["state"], job["percent"], job["active"]) == ("running", 42, True)


@pytest.mark.django_db
def test_live_is_not_for_strangers() -> None:
    client = as_user(make_user("nobody"))
    assert client.get(reverse("admin:shopgen_job_live")).status_code == 403


def test_activation_asks_and_logs(desk: Client, tmp_path: Any) -> None:
    import hashlib

    from django.contrib.admin.models import LogEntry

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    version = ModelVersion.objects.create(
        name="dresses", version=1, folder=str(tmp_path), weights_bytes=7,
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    address = reverse("admin:shopgen_modelversion_activate", args=[version.pk])
    assert "None was active so far" in desk.post(address).content.decode()
    page = desk.post(address, {"confirm": "1"}, follow=True).content.decode()
    assert "is used from now on" in page
    version.refresh_from_db()
    assert version.is_active and LogEntry.objects.get().get_change_message() == "Activated."
    assert as_user(make_user("viewer", "view_modelversion")).post(address, {"confirm": "1"}).status_code == 403
    (tmp_path / "model.safetensors").write_bytes(b"altered")
    assert "were changed after they were registered" in desk.post(address, {"confirm": "1"}).content.decode()
