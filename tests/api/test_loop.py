"""The whole loop over HTTP: upload, queue, look, decide, publish, take back."""

from __future__ import annotations

from typing import Any

from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from shopgen_django.jobs.queues.dummy import DummyQueue
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ImageState, Job, ProductImage
from tests.api.conftest import BASE
from tests.factories import make_image, picture_bytes
from tests.testshop.models import Product


def test_a_photo_comes_in_and_can_be_looked_at(staff: APIClient) -> None:
    product = Product.objects.create(name="Linen shirt")
    sent = SimpleUploadedFile("../../shirt.png", picture_bytes(), content_type="text/html")
    answer = staff.post(
        f"{BASE}/images/", {"file": sent, "object_pk": product.pk, "alt_text": "A shirt"}, format="multipart"
    )
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert answer.headers["Location"] == job["status_url"] and job["cancel_url"].endswith("/cancel/")
    assert (job["state"], job["operation"], job["images"]) == ("queued", "upload", [])
    assert job["estimate"]["outputs"] == 1
    assert job["params"] == {"name": "shirt.png", "alt_text": "A shirt", "category": "", "digital_source": ""}
    assert not ProductImage.objects.exists(), "it waits for a worker"
    assert run_job(job["id"]) == "succeeded"
    job = staff.get(job["status_url"]).json()
    image = staff.get(f"{BASE}/images/{job['images'][0]}/").json()
    assert (image["job"], image["operation"]) == (job["id"], "")
    assert (image["kind"], image["state"], image["product_label"]) == ("source", "draft", "Linen shirt")
    assert (image["width"], image["height"], image["alt_text"]) == (96, 80, "A shirt")
    assert staff.get(f"{BASE}/images/?object_pk={product.pk}").json()["results"][0]["id"] == image["id"]

    answer = staff.get(image["content_url"], headers={"accept": "image/avif,image/*"})
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content)
    assert content.startswith(b"\xff\xd8"), "encoded anew as JPEG"
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-site"
    assert answer.headers["Cache-Control"] == "private, max-age=300"
    assert f'filename="{image["id"]}.jpg"' in answer.headers["Content-Disposition"]
    again = staff.get(image["content_url"], headers={"if-none-match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_same_photo_is_stored_once(staff: APIClient) -> None:
    found = []
    for _ in range(2):
        sent = {"file": SimpleUploadedFile("a.png", picture_bytes())}
        job = staff.post(f"{BASE}/images/", sent, format="multipart").json()
        run_job(job["id"])
        found += staff.get(job["status_url"]).json()["images"]
    assert len(found) == 2 and len(set(found)) == 1
    assert ProductImage.objects.count() == 1


def test_an_upload_s_key_makes_it_safe_to_repeat(staff: APIClient) -> None:
    def send(content: bytes) -> Any:
        sent = {"file": SimpleUploadedFile("a.png", content)}
        return staff.post(f"{BASE}/images/", sent, format="multipart", headers={"idempotency-key": "u-1"})

    first, again = send(picture_bytes()), send(picture_bytes())
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"] and again.headers["Idempotent-Replayed"] == "true"
    other = send(picture_bytes(colour="#aa1111"))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert Job.objects.count() == 1


def test_a_catalogue_is_imported_over_http(staff: APIClient) -> None:
    """One job for all that is on offer; what did not come in is named."""
    for number in range(2):
        product = Product.objects.create(name=f"Hat {number}")
        if number:
            product.image.save("hat.png", ContentFile(picture_bytes()))
    answer = staff.post(f"{BASE}/jobs/", {"operation": "import_photos"}, format="json")
    assert answer.status_code == 202, answer.content
    assert answer.json()["batch"], "its parts, if there are any, are found by it"
    run_job(answer.json()["id"])
    job = staff.get(answer.json()["status_url"]).json()
    assert (job["state"], len(job["images"])) == ("succeeded", 1)
    assert [(row["label"], row["code"]) for row in job["problems"]] == [("Hat 0", "no_pictures")]


def test_nobody_queues_an_upload_without_a_file(staff: APIClient, client_of: Any) -> None:
    for body in ({"operation": "upload"}, {"operation": "upload", "params": {"file": "sources/x"}}):
        answer = staff.post(f"{BASE}/jobs/", body, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_operation")
    assert "upload" not in {row["name"] for row in staff.get(f"{BASE}/operations/").json()["results"]}
    maker = client_of("maker", "submit_job")
    answer = maker.post(f"{BASE}/jobs/", {"operation": "import_photos"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_who_may_only_upload_may_cancel_that(client_of: Any, db: None) -> None:
    uploader = client_of("uploader", "add_productimage")
    sent = {"file": SimpleUploadedFile("a.png", picture_bytes())}
    job = uploader.post(f"{BASE}/images/", sent, format="multipart").json()
    assert uploader.post(job["cancel_url"]).status_code == 200
    other = Job.objects.create(operation="fit", created_by=uploader.user)
    assert uploader.post(f"{BASE}/jobs/{other.pk}/cancel/").status_code == 403


def test_a_person_s_picture_is_never_cached(staff: APIClient) -> None:
    image = make_image(personal=True)
    answer = staff.get(f"{BASE}/images/{image.pk}/content/")
    assert b"".join(answer.streaming_content)
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_lost_file_is_told(staff: APIClient) -> None:
    image = make_image()
    image.file.storage.delete(image.file.name)
    answer = staff.get(f"{BASE}/images/{image.pk}/content/", headers={"accept": "image/*"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "file_missing")


def test_a_job_is_queued_watched_cancelled_and_tried_again(
    staff: APIClient, model: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = staff.post(f"{BASE}/jobs/", {"operation": "generate", "params": {"count": 2}}, format="json")
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert job["state"] == "queued"
    assert job["estimate"] == {"seconds": 2.2, "outputs": 2}
    assert job["params"]["truncation"] == 0.8
    assert job["model_version"] == str(model.pk)
    assert answer.headers["Location"] == job["status_url"]
    assert DummyQueue.rings == [(job["id"], "cpu")]

    seen = staff.get(job["status_url"])
    assert seen.json() == job
    tag = seen.headers["ETag"]
    assert tag.startswith('W/"')
    assert staff.get(job["status_url"], headers={"if-none-match": f'"x", {tag}'}).status_code == 304
    Job.objects.filter(pk=job["id"]).update(progress=0.5)  # no timestamp touched, as a heartbeat may do
    changed = staff.get(job["status_url"], headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["progress"]) == (200, 0.5)

    answer = staff.post(job["cancel_url"])
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    answer = staff.post(job["retry_url"])
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    answer = staff.post(job["retry_url"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "invalid_state")


def test_what_a_job_made_is_listed_in_order(staff: APIClient) -> None:
    job = Job.objects.create(operation="generate", params={"count": 3})
    made = [make_image(job=job, index=index, colour=f"#00{index}000") for index in (2, 0, 1)]
    shown = staff.get(f"{BASE}/jobs/{job.pk}/").json()
    assert shown["images"] == [str(made[1].pk), str(made[2].pk), str(made[0].pk)]


def test_review_publish_and_withdraw(staff: APIClient) -> None:
    product = Product.objects.create(name="Linen shirt")
    image = make_image(ImageState.IN_REVIEW, catalogue="default", object_pk=str(product.pk))
    address = f"{BASE}/images/{image.pk}"
    answer = staff.post(f"{address}/publish/", {}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "invalid_state")
    answer = staff.post(f"{address}/review/", {"decision": "rejected"}, format="json")
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["reason"])
    answer = staff.post(f"{address}/review/", {"decision": "approved", "reason": "sharp"}, format="json")
    assert answer.status_code == 200
    assert [row["decision"] for row in answer.json()["reviews"]] == ["approved"]

    answer = staff.post(f"{address}/publish/", {"placement": "main"}, format="json")
    assert answer.status_code == 201, answer.content
    assert "receipt" not in answer.json()
    product.refresh_from_db()
    assert product.image
    answer = staff.post(f"{address}/withdraw/", {"note": "wrong colour"}, format="json")
    assert (answer.status_code, answer.json()["withdraw_outcome"]) == (200, "restored")
    product.refresh_from_db()
    assert not product.image
    shown = staff.get(f"{address}/").json()
    assert (shown["state"], shown["publications"][0]["note"]) == ("withdrawn", "wrong colour")


def test_lineage_goes_both_ways_and_shows_only_what_the_caller_may_see(staff: APIClient, client_of: Any) -> None:
    owner = client_of("owner")
    source, middle = make_image(colour="#111111"), make_image(colour="#222222", created_by=owner.user)
    leaf, cousin = make_image(colour="#333333", created_by=owner.user), make_image(colour="#444444")
    middle.parents.add(source)
    leaf.parents.add(middle)
    cousin.parents.add(source)
    shown = staff.get(f"{BASE}/images/{middle.pk}/lineage/").json()
    assert {node["id"] for node in shown["nodes"]} == {str(row.pk) for row in (source, middle, leaf)}
    pairs = {(edge["parent"], edge["child"]) for edge in shown["edges"]}
    assert pairs == {(str(source.pk), str(middle.pk)), (str(middle.pk), str(leaf.pk))}
    shown = owner.get(f"{BASE}/images/{middle.pk}/lineage/").json()
    assert {node["id"] for node in shown["nodes"]} == {str(middle.pk), str(leaf.pk)}


def test_models(staff: APIClient, model: Any, tmp_path: Any) -> None:
    shown = staff.get(f"{BASE}/models/?is_active=true").json()["results"]
    assert [row["id"] for row in shown] == [str(model.pk)]
    assert shown[0]["categories"] == ["Hat", "Shirt"]
    assert str(tmp_path) not in str(shown)
    answer = staff.post(shown[0]["activate_url"])
    assert (answer.status_code, answer.json()["is_active"]) == (200, True)
    (tmp_path / "model" / "model.safetensors").unlink()
    answer = staff.post(shown[0]["activate_url"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "weights_missing")
    assert str(tmp_path) not in answer.content.decode()


def test_without_a_model_the_job_is_refused_with_advice(staff: APIClient) -> None:
    answer = staff.post(f"{BASE}/jobs/", {"operation": "generate"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_unavailable")
    assert "train_gan" in answer.json()["error"]["message"]


def test_operations_carry_their_json_schema(staff: APIClient) -> None:
    shown = {row["name"]: row for row in staff.get(f"{BASE}/operations/").json()["results"]}
    assert shown["generate"]["schema"]["properties"]["count"]["maximum"] == 64
    assert (shown["generate"]["min_inputs"], shown["generate"]["max_inputs"]) == (0, 0)
    assert staff.get(shown["generate"]["url"]).json() == shown["generate"]
    chinese = staff.get(shown["generate"]["url"], headers={"accept-language": "zh-hans"})
    assert chinese.headers["Content-Language"] == "zh-hans"
    answer = staff.get(f"{BASE}/operations/melt/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_operation")
