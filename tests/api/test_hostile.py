"""What must never be a 500, and never says more than it should."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.test import Client, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from shopgen_django.api.views.jobs import JobViewSet
from shopgen_django.exceptions import LimitExceeded, StorageFull
from shopgen_django.models import Job, ProductImage
from tests.api.conftest import BASE
from tests.factories import make_image, picture_bytes

JOBS = f"{BASE}/jobs/"


def post_raw(client: APIClient, body: bytes | str, content_type: str = "application/json", url: str = JOBS) -> Any:
    return client.generic("POST", url, body, content_type=content_type)


def check(answer: Any, *statuses: int) -> dict[str, Any]:
    """The answer has one of these statuses and the one error shape."""
    assert answer.status_code in statuses, (answer.status_code, answer.content[:300])
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields"}
    assert body["error"]["message"]
    assert answer.headers["X-Request-ID"]
    for texts in body["error"]["fields"].values():
        assert isinstance(texts, list)
    return dict(body["error"])


RAW = {
    "no JSON": b"{",
    "empty": b"",
    "nothing": b"null",
    "a list": b"[1, 2]",
    "a text": b'"generate"',
    "not UTF-8": b'{"operation": "\xff\xfe"}',
    "UTF-16": '{"operation": "generate"}'.encode("utf-16"),
    "a number with 5,000 digits": b'{"operation": "generate", "params": {"seed": ' + b"9" * 5000 + b"}}",
    "a number with 400 digits": b'{"operation": "generate", "params": {"truncation": ' + b"9" * 400 + b"}}",
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "an object nested 5,000 deep": b'{"params":' * 5000 + b"1" + b"}" * 5000,
    "NaN": b'{"operation": "generate", "params": {"truncation": NaN}}',
    "infinity": b'{"operation": "generate", "params": {"truncation": 1e999}}',
    "NUL in a text": b'{"operation": "gen\\u0000erate"}',
    "NUL in a name": b'{"operation": "generate", "params": {"a\\u0000": 1}}',
    "lone surrogate": b'{"operation": "generate", "params": {"category": "\\ud800"}}',
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW.keys())
def test_broken_bodies(staff: APIClient, model: Any, body: bytes) -> None:
    for url in (JOBS, f"{BASE}/jobs/batch/"):
        check(post_raw(staff, body, url=url), 400)
    assert not Job.objects.exists()


def test_a_body_over_the_limit_is_not_read_whole(staff: APIClient) -> None:
    error = check(post_raw(staff, b'{"operation": "' + b"x" * 2**20 + b'"}'), 413)
    assert error["code"] == "body_too_large"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"operation": 5.5}, ""),
    ({"operation": ["generate"]}, "operation"),
    ({"operation": "x" * 65}, "operation"),
    ({}, "operation"),
    ({"operation": "generate", "params": []}, "params"),
    ({"operation": "generate", "params": "count"}, "params"),
    ({"operation": "generate", "params": {"count": -1}}, "count"),
    ({"operation": "generate", "params": {"count": 2**63}}, "count"),
    ({"operation": "generate", "params": {"count": 10**400}}, "count"),
    ({"operation": "generate", "params": {"count": "1e9"}}, "count"),
    ({"operation": "generate", "params": {"count": True}}, "count"),
    ({"operation": "generate", "params": {"count": {}}}, "count"),
    ({"operation": "generate", "params": {"seed": 2**31}}, "seed"),
    ({"operation": "generate", "params": {"truncation": "nan"}}, "truncation"),
    ({"operation": "generate", "params": {"output_size": 100_000}}, "output_size"),
    ({"operation": "generate", "params": {"colour": "red"}}, "colour"),
    ({"operation": "generate", "params": {"category": "x" * 2001}}, "category"),
    ({"operation": "generate", "inputs": "abc"}, "inputs"),
    ({"operation": "generate", "inputs": ["abc"]}, "inputs.0"),
    ({"operation": "generate", "inputs": [None]}, "inputs.0"),
    ({"operation": "generate", "catalogue": "elsewhere"}, "catalogue"),
    ({"operation": "generate", "catalogue": 7.5}, ""),
    ({"operation": "generate", "object_pk": {"id": 1}}, "object_pk"),
    ({"operation": "generate", "object_pk": 1.5}, "object_pk"),
    ({"operation": "generate", "object_pk": True}, "object_pk"),
    ({"operation": "generate", "object_pk": "9" * 256}, "object_pk"),
]


@pytest.mark.parametrize(("body", "field"), WRONG, ids=lambda value: str(value)[:60])
def test_wrong_values_name_their_field(staff: APIClient, model: Any, body: dict[str, Any], field: str) -> None:
    error = check(staff.post(JOBS, body, format="json"), 400, 404)
    if field:
        assert list(error["fields"]) == [field]
    assert not Job.objects.exists()


def test_what_a_body_names_but_does_not_exist(staff: APIClient, model: Any) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    assert check(staff.post(JOBS, {"operation": "melt"}, format="json"), 404)["code"] == "unknown_operation"
    for pk in (999, "abc", str(2**70), "-1"):
        error = check(staff.post(JOBS, {"operation": "generate", "object_pk": pk}, format="json"), 404)
        assert error["code"] == "product_not_found"
    error = check(staff.post(JOBS, {"operation": "generate", "inputs": [missing]}, format="json"), 404)
    assert list(error["fields"]) == ["inputs"]


QUERIES = [
    "page_size=0", "page_size=101", "page_size=-1", "page_size=abc", "page_size=%C2%B2", "page_size=" + "9" * 5000,
    "ordering=created_by__password", "ordering=-id", "ordering=?", "ordering=created_at;DROP TABLE x",
    "cursor=", "cursor=abc", "cursor=%00", "cursor=%FF", "cursor=W10=", "cursor=eyJhIjoxfQ==",
    "state=nothing", "batch=abc", "created_after=yesterday", "created_after=99999-01-01T00:00:00Z",
    "catalogue=%00", "object_pk=" + "x" * 256, "password=x", "created_by__password__startswith=a", "%00=1",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_wrong_queries(staff: APIClient, query: str) -> None:
    for name in ("jobs", "images"):
        error = check(staff.get(f"{BASE}/{name}/?{query}"), 400)
        assert error["code"] == "invalid_parameters"
        assert len(error["fields"]) == 1


def test_wrong_queries_of_the_other_lists(staff: APIClient) -> None:
    for query in ("models/?folder=/", "models/?is_active=x", "training-runs/?state=x", "jobs/?mine=perhaps"):
        check(staff.get(f"{BASE}/{query}"), 400)


def test_addresses_that_lead_nowhere(staff: APIClient) -> None:
    for path in ("jobs/1/", "jobs/abc/", "jobs/%00/", "images/../../etc/passwd/", "nothing/", "", "operations/%2e%2e/"):
        check(staff.get(f"{BASE}/{path}"), 404)
    assert "slash" in check(staff.post(f"{BASE}/jobs", {}, format="json"), 404)["message"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "a/b; charset=x"]
)
def test_other_media_types(staff: APIClient, content_type: str) -> None:
    check(post_raw(staff, b"operation=generate", content_type), 415, 400)
    check(post_raw(staff, b'{"file": "x"}', "application/json", f"{BASE}/images/"), 415)


def test_a_charset_of_python_s_own_changes_nothing(staff: APIClient, model: Any) -> None:
    answer = post_raw(staff, b'{"operation": "generate"}', "application/json; charset=rot13")
    assert answer.status_code == 202
    form = b"".join((
        b'--b\r\nContent-Disposition: form-data; name="alt_text"\r\n\r\nA hat\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n', picture_bytes(), b"\r\n--b--",
    ))
    for charset in ("rot13", "utf-16", "undefined", "idna"):
        answer = post_raw(staff, form, f"multipart/form-data; boundary=b; charset={charset}", f"{BASE}/images/")
        assert (answer.status_code, answer.json()["params"]["alt_text"]) == (202, "A hat"), charset


def test_keys_that_are_no_keys(staff: APIClient, model: Any) -> None:
    for key in ("", " ", "a b", "é", "x" * 256, "a\tb"):
        answer = staff.post(JOBS, {"operation": "generate"}, format="json", headers={"idempotency-key": key})
        assert check(answer, 400)["code"] == "invalid_idempotency_key"
    assert not Job.objects.exists()


UPLOADS: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 422, "empty"),
    "text": (b"hello", 422, "unsupported_type"),
    "HTML": (b"<html><script>alert(1)</script>", 422, "unsupported_type"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "unsupported_type"),
    "half a PNG": (picture_bytes()[:120], 422, "corrupt"),
    "too small": (picture_bytes(width=8, height=8), 422, "too_small"),
}


@pytest.mark.parametrize(("content", "status", "code"), UPLOADS.values(), ids=UPLOADS.keys())
def test_refused_pictures_leave_nothing(
    staff: APIClient, tmp_path: Any, content: bytes, status: int, code: str
) -> None:
    sent = SimpleUploadedFile("a.png", content, content_type="image/png")
    error = check(staff.post(f"{BASE}/images/", {"file": sent}, format="multipart"), status)
    assert error["code"] == code
    assert list(error["fields"]) == ["file"]
    assert not ProductImage.objects.exists()
    assert [path for path in (tmp_path / "shopgen").rglob("*") if path.is_file()] == []


def test_an_upload_over_the_limit(staff: APIClient, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"MAX_UPLOAD_BYTES": 200_000}}
    just_over = SimpleUploadedFile("a.png", b"x" * 200_001)  # the form as a whole is within the slack
    error = check(staff.post(f"{BASE}/images/", {"file": just_over}, format="multipart"), 413)
    assert error["code"] == "too_large"
    far_over = SimpleUploadedFile("a.png", b"x" * 400_000)
    assert check(staff.post(f"{BASE}/images/", {"file": far_over}, format="multipart"), 413)["code"] == "too_large"


def test_a_length_far_over_the_limit_is_refused_unread(staff: APIClient) -> None:
    answer = staff.generic(
        "POST", f"{BASE}/images/", b"", content_type="multipart/form-data; boundary=b", CONTENT_LENGTH=str(2**40)
    )
    assert check(answer, 413)["code"] == "too_large"


def test_uploads_that_nobody_takes_in_are_bounded(staff: APIClient, settings: Any, tmp_path: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"WAITING_UPLOADS": 1}}

    def send() -> Any:
        sent = {"file": SimpleUploadedFile("a.png", picture_bytes())}
        return staff.post(f"{BASE}/images/", sent, format="multipart")

    assert send().status_code == 202
    answer = send()
    assert check(answer, 429)["code"] == "limit_exceeded"
    assert answer.headers["Retry-After"] == "60"
    assert len([path for path in (tmp_path / "shopgen").rglob("*") if path.is_file()]) == 1, "the refused one is gone"


def test_odd_forms(staff: APIClient) -> None:
    url = f"{BASE}/images/"
    check(post_raw(staff, b"x", "multipart/form-data", url), 400)
    check(post_raw(staff, b"--b\r\nx", "multipart/form-data; boundary=b", url), 400)
    check(staff.post(url, {}, format="multipart"), 400)
    check(staff.post(url, {"file": "not a file"}, format="multipart"), 400)
    many = {f"file{index}": SimpleUploadedFile("a.png", b"x") for index in range(101)}
    check(staff.post(url, many, format="multipart"), 400)
    check(staff.post(url, {f"field{index}": "x" for index in range(1001)}, format="multipart"), 400)
    for name, value in (("alt_text", "a\x00b"), ("category", "x" * 101), ("state", "approved"), ("catalogue", "no")):
        body = {"file": SimpleUploadedFile("a.png", picture_bytes()), name: value}
        check(staff.post(url, body, format="multipart"), 400)
    assert not ProductImage.objects.exists()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "x" * 300 + ".png", "a\nb.png", "a\u202egnp.exe", "CON.jpg", ".htaccess", "😀.png"]
)
def test_odd_file_names_never_reach_the_disk(staff: APIClient, tmp_path: Any, name: str) -> None:
    sent = SimpleUploadedFile("a.png", picture_bytes())
    sent._name = name  # past Django's own cleaning, as a raw request would come
    answer = staff.post(f"{BASE}/images/", {"file": sent}, format="multipart")
    assert answer.status_code in {202, 400}
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.suffix == ".upload" and path.is_relative_to(tmp_path / "shopgen" / "files") for path in stored)
    assert len(stored) == Job.objects.count()


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("operation", "params", "inputs", "catalogue", "object_pk", "images", "products", "image_filter", "dry_run")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=st.dictionaries(st.sampled_from(NAMES), any_json, max_size=4), named=st.booleans())
def test_no_json_is_a_500(staff: APIClient, model: Any, body: dict[str, Any], named: bool) -> None:
    if named:
        body["operation"] = "generate"
    for url in (JOBS, f"{BASE}/jobs/batch/"):
        answer = post_raw(staff, json.dumps(body), url=url)
        assert answer.status_code in {200, 202, 400, 404, 409, 422, 429}, answer.content


def _raise(error: Exception) -> Any:
    def view(*args: Any, **kwargs: Any) -> Any:
        raise error

    return view


@override_settings(DEBUG=True)
def test_what_nobody_expected_tells_nothing_but_is_logged(
    staff: APIClient, monkeypatch: Any, caplog: Any
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(staff.user)  # type: ignore[attr-defined]
    monkeypatch.setattr(JobViewSet, "list", _raise(RuntimeError("SELECT secret FROM /etc/passwd")))
    told: list[Any] = []
    got_request_exception.connect(lambda **news: told.append(news["request"]), weak=False, dispatch_uid="test-api")
    try:
        with caplog.at_level(logging.ERROR, "shopgen_django.api"):
            answer = client.get(JOBS, headers={"x-request-id": "my-request.1"})
    finally:
        got_request_exception.disconnect(dispatch_uid="test-api")
    assert [request.path for request in told] == [JOBS], "error reporters hear of it"
    error = check(answer, 500)
    assert error["code"] == "internal_error"
    assert "secret" not in answer.content.decode()
    assert answer.headers["X-Request-ID"] == "my-request.1"
    assert "my-request.1" in caplog.text
    assert "SELECT secret" in caplog.text


def test_errors_with_statuses_of_their_own(staff: APIClient, monkeypatch: Any) -> None:
    for raised, status, code in (
        (OperationalError("database is locked"), 503, "database_unavailable"),
        (StorageFull("full"), 507, "storage_full"),
        (LimitExceeded("wait", retry_after=7), 429, "limit_exceeded"),
    ):
        monkeypatch.setattr(JobViewSet, "list", _raise(raised))
        answer = staff.get(JOBS)
        assert check(answer, status)["code"] == code
    assert answer.headers["Retry-After"] == "7"


def test_missing_tables_are_no_outage(staff: APIClient, monkeypatch: Any, caplog: Any) -> None:
    staff.raise_request_exception = False
    monkeypatch.setattr(JobViewSet, "list", _raise(OperationalError("no such table: shopgen_job")))
    answer = staff.get(JOBS)
    assert check(answer, 500)["code"] == "internal_error", "waiting would not help"
    assert "Retry-After" not in answer.headers
    assert "no such table" in caplog.text


def test_a_strange_request_id_is_replaced(staff: APIClient) -> None:
    for given_id in ("a" * 65, "a b", "<script>", "é"):
        answer = staff.get(JOBS, headers={"x-request-id": given_id})
        assert answer.headers["X-Request-ID"] != given_id
        assert len(answer.headers["X-Request-ID"]) == 32


def test_scripts_are_escaped_where_a_browser_reads_them(staff: APIClient) -> None:
    attack = "<script>alert(1)</script>"
    image = make_image(alt_text=attack, product_label=attack, gate_reason=attack)
    job = Job.objects.create(
        operation=attack[:20], params={"a": attack}, state="failed", error_code="x", error_detail=attack,
        finished_at=image.created_at,
    )
    for url in (f"{BASE}/images/{image.pk}/", f"{BASE}/images/", f"{JOBS}{job.pk}/", JOBS):
        answer = staff.get(url, headers={"accept": "text/html"})
        assert answer.headers["Content-Type"].startswith("text/html")
        assert attack not in answer.content.decode()
        assert "&lt;script&gt;" in answer.content.decode()
