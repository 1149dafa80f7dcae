"""Every route of the URLconf against every kind of caller. A new route without an entry here fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern
from rest_framework.test import APIClient

from shopgen_django.api.permissions import VerbPermission
from shopgen_django.api.urls import v1
from shopgen_django.models import ImageState, Job, MetricPoint, Recipe, SuppliedModel, TextSuggestion, TrainingRun
from shopgen_django.services.texts import approve_text, publish_text
from tests.api.conftest import BASE
from tests.factories import make_image, picture_bytes
from tests.testshop.models import Product

MISSING = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What each caller gets for one route and method.

    ``plain``: signed in, no permission, the object is somebody else's. ``owner``: made the object, holds no permission
    (jobs: only ``submit_job``, without which nobody owns one). ``staff``: ``is_staff`` without permissions of ours.
    ``permitted``: holds ``needs`` and the view permissions.
    """

    plain: int
    owner: int
    permitted: int
    needs: tuple[str, ...] = ()
    staff: int | None = None  # None: like plain
    owner_has: tuple[str, ...] = ()
    body: Callable[[], Any] | None = None
    multipart: bool = False
    missing: dict[str, str] = field(default_factory=dict)


def _upload() -> dict[str, Any]:
    return {"file": SimpleUploadedFile("a.png", picture_bytes(colour="#aa0000"))}


LISTED = {"plain": 200, "owner": 200, "permitted": 200}
SEEN = {"plain": 404, "owner": 200, "permitted": 200}

MATRIX: dict[tuple[str, str], Row] = {
    ("operation-list", "get"): Row(plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("view_job",)),
    ("operation-detail", "get"): Row(
        plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("view_job",)
    ),
    ("operation-words", "post"): Row(
        plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("submit_job",), body=dict,
    ),
    ("recipe-list", "get"): Row(plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("view_recipe",)),
    ("recipe-detail", "get"): Row(
        plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("view_recipe",)
    ),
    ("recipe-list", "post"): Row(
        plain=403, owner=403, permitted=201, needs=("add_recipe",),
        body=lambda: {"name": "mine", "label": "Mine", "steps": [{"operation": "fit"}]},
    ),
    ("recipe-detail", "put"): Row(
        plain=403, owner=403, permitted=200, needs=("change_recipe",),
        body=lambda: {"label": "Ours", "steps": [{"operation": "fit"}]},
    ),
    ("recipe-detail", "delete"): Row(plain=403, owner=403, permitted=204, needs=("delete_recipe",)),
    ("image-list", "get"): Row(**LISTED),
    ("image-list", "post"): Row(
        plain=403, owner=403, permitted=202, needs=("add_productimage",), body=_upload, multipart=True
    ),
    ("image-detail", "get"): Row(**SEEN),
    ("image-lineage", "get"): Row(**SEEN),
    ("image-content", "get"): Row(**SEEN),
    ("image-review", "post"): Row(
        plain=403, owner=403, permitted=200, needs=("review_productimage",), body=lambda: {"decision": "approved"}
    ),
    ("image-publish", "post"): Row(plain=403, owner=403, permitted=201, needs=("publish_productimage",)),
    ("image-withdraw", "post"): Row(plain=403, owner=403, permitted=200, needs=("withdraw_productimage",)),
    ("job-list", "get"): Row(**LISTED),
    ("job-list", "post"): Row(
        plain=403, owner=202, permitted=202, needs=("submit_job",), owner_has=("submit_job",),
        body=lambda: {"operation": "generate"},
    ),
    ("job-batch", "post"): Row(
        plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("submit_job",),
        body=lambda: {"operation": "generate", "product_filter": {}, "dry_run": True},
    ),
    ("suggestion-list", "get"): Row(**LISTED),
    ("suggestion-detail", "get"): Row(**SEEN),
    ("suggestion-detail", "patch"): Row(
        plain=403, owner=403, permitted=200, needs=("review_textsuggestion",), body=lambda: {"text": "Hat"}
    ),
    ("suggestion-review", "post"): Row(
        plain=403, owner=403, permitted=200, needs=("review_textsuggestion",), body=lambda: {"decision": "approved"}
    ),
    ("suggestion-publish", "post"): Row(plain=403, owner=403, permitted=200, needs=("publish_textsuggestion",)),
    ("suggestion-withdraw", "post"): Row(plain=403, owner=403, permitted=200, needs=("withdraw_textsuggestion",)),
    ("job-detail", "get"): Row(**SEEN),
    ("job-cancel", "post"): Row(
        plain=403, owner=200, permitted=200, needs=("cancel_job",), owner_has=("submit_job",)
    ),
    ("job-retry", "post"): Row(plain=403, owner=202, permitted=202, needs=("retry_job",), owner_has=("submit_job",)),
    ("budget-list", "get"): Row(plain=403, owner=200, permitted=200, needs=("submit_job",), owner_has=("submit_job",)),
    ("model-list", "get"): Row(plain=403, owner=403, permitted=200),
    ("model-detail", "get"): Row(plain=403, owner=403, permitted=200),
    ("model-activate", "post"): Row(plain=403, owner=403, permitted=200, needs=("activate_modelversion",)),
    ("run-list", "get"): Row(plain=403, owner=403, permitted=200),
    ("run-detail", "get"): Row(plain=403, owner=403, permitted=200),
    ("run-list", "post"): Row(
        plain=403, owner=403, permitted=202, needs=("start_trainingrun",),
        body=lambda: {"name": "hats", "options": {"minutes": 5}},
    ),
    ("run-start", "post"): Row(plain=403, owner=403, permitted=202, needs=("start_trainingrun",)),
    ("run-stop", "post"): Row(plain=403, owner=403, permitted=202, needs=("start_trainingrun",)),
    ("run-resume", "post"): Row(plain=403, owner=403, permitted=202, needs=("start_trainingrun",)),
    # It runs, so it can't be thrown away.
    ("run-detail", "delete"): Row(plain=403, owner=403, permitted=409, needs=("start_trainingrun",)),
    ("run-points", "get"): Row(plain=403, owner=403, permitted=200),
    ("large-model-list", "get"): Row(plain=403, owner=403, permitted=200),
    ("large-model-detail", "get"): Row(plain=403, owner=403, permitted=200),
    ("large-model-list", "post"): Row(
        plain=403, owner=403, permitted=202, needs=("add_suppliedmodel",),
        body=lambda: {"path": "sd", "name": "new", "licence": "MIT", "commercial": True, "source": "https://example.org"},
    ),
    ("large-model-verify", "post"): Row(plain=403, owner=403, permitted=202, needs=("verify_suppliedmodel",)),
    ("large-model-detail", "delete"): Row(plain=403, owner=403, permitted=202, needs=("delete_suppliedmodel",)),
    ("health", "get"): Row(plain=403, owner=403, permitted=200, staff=200),
    ("schema", "get"): Row(plain=200, owner=200, permitted=200),
}
VIEW = (
    "view_job", "view_productimage", "view_modelversion", "view_trainingrun", "view_textsuggestion",
    "view_suppliedmodel",
)  # fmt: skip
DECIDED = ("-review", "-publish", "-withdraw")
METHODS = ("get", "post", "put", "patch", "delete")


def routes() -> Iterator[tuple[str, str]]:
    """Name and method of every route that does something."""
    for pattern in v1:
        assert isinstance(pattern, URLPattern)
        if pattern.name == "unknown":
            continue
        for method in pattern.callback.actions:  # type: ignore[attr-defined]
            if method != "head":  # DRF's twin of get
                yield str(pattern.name), method


def test_every_route_has_an_entry() -> None:
    assert set(routes()) == set(MATRIX)


@pytest.fixture
def world(db: None, model: Any, client_of: Any) -> dict[str, Any]:
    """One object of each kind, all made by ``owner``, in the state that each verb needs."""
    owner = client_of("owner", is_staff=False)
    product = Product.objects.create(name="Hat")
    place = {"catalogue": "default", "object_pk": str(product.pk), "created_by": owner.user}
    images = {
        state: make_image(state, colour=f"#0000{number}0", **place)
        for number, state in enumerate((ImageState.IN_REVIEW, ImageState.APPROVED))
    }
    published = make_image(ImageState.APPROVED, colour="#00ff00", **place)
    from shopgen_django.services.publishing import publish_image

    publish_image(image=published, user=None)
    jobs = {
        "queued": Job.objects.create(operation="generate", params={"count": 1}, created_by=owner.user),
        "failed": Job.objects.create(
            operation="generate", params={"count": 1}, created_by=owner.user, state="failed", error_code="x",
            finished_at=images[ImageState.APPROVED].created_at,
        ),
    }
    Recipe.objects.create(name="square", label="Square", steps=[{"operation": "fit"}], created_by=owner.user)
    SuppliedModel.objects.create(name="house", kind="Flux", sha256="0" * 64, host="gpu-1")
    order = {"options": {"minutes": 5}, "catalogue": "default", "products": [], "activate": False}
    run = TrainingRun.objects.create(name="run", output_dir="/somewhere", created_by=owner.user, order=order)
    MetricPoint.objects.create(run=run, images_seen=100, seconds=1.0, values={"loss": 1.0})
    texts = [
        TextSuggestion.objects.create(kind=kind, text=kind, proposed=kind, **place)
        for kind in ("title", "description", "alt_text")
    ]
    approve_text(suggestion=texts[1])
    texts[2].kind = "description"
    texts[2].save()
    publish_text(suggestion=approve_text(suggestion=texts[2]))
    keys = {
        "suggestion-publish": texts[1].pk,
        "suggestion-withdraw": texts[2].pk,
        "image-review": images[ImageState.IN_REVIEW].pk,
        "image-publish": images[ImageState.APPROVED].pk,
        "image-withdraw": published.pk,
        "job-retry": jobs["failed"].pk,
    }
    defaults = {
        "suggestion": texts[0].pk, "image": images[ImageState.APPROVED].pk, "job": jobs["queued"].pk,
        "model": model.pk, "run": run.pk,
    }  # fmt: skip
    return {"owner": owner, "keys": keys, "defaults": defaults}


def address(name: str, key: Any) -> str:
    from django.urls import reverse

    if name in {"operation-detail", "operation-words"}:
        return reverse(f"shopgen-api:{name}", kwargs={"name": "generate"})
    if name == "recipe-detail":
        return reverse(f"shopgen-api:{name}", kwargs={"name": "square"})
    if name in {"large-model-detail", "large-model-verify"}:
        return reverse(f"shopgen-api:{name}", kwargs={"name": "house"})
    pattern = next(route for route in v1 if getattr(route, "name", "") == name)
    return reverse(f"shopgen-api:{name}", kwargs={"pk": key} if "<uuid:pk>" in str(pattern.pattern) else None)


def key_of(world: dict[str, Any], name: str) -> Any:
    return world["keys"].get(name) or world["defaults"].get(name.split("-", maxsplit=1)[0])


def ask(client: APIClient, method: str, url: str, row: Row) -> Any:
    body = row.body() if row.body else ({} if method == "post" else None)
    answer = getattr(client, method)(url, body, format="multipart" if row.multipart else "json") if body is not None \
        else getattr(client, method)(url)
    if answer.streaming:
        assert b"".join(answer.streaming_content)
    return answer


@pytest.mark.parametrize(("name", "method"), sorted(MATRIX), ids=lambda value: value)
def test_who_may(name: str, method: str, world: dict[str, Any], client_of: Any) -> None:
    row = MATRIX[name, method]
    url = address(name, key_of(world, name))
    anonymous = ask(APIClient(), method, url, row)
    assert (anonymous.status_code, anonymous.json()["error"]["code"]) == (403, "not_authenticated")
    plain = client_of("plain", is_staff=False)
    answer = ask(plain, method, url, row)
    assert answer.status_code == row.plain, answer.content
    staff = client_of("only-staff", is_staff=True)
    assert ask(staff, method, url, row).status_code == (row.plain if row.staff is None else row.staff)
    inactive = client_of("gone", *row.needs, *VIEW)
    inactive.user.is_active = False
    inactive.user.save()
    assert ask(inactive, method, url, row).status_code == 403
    foreign = client_of("foreign", *row.needs, is_staff=False)
    answer = ask(foreign, method, url, row)
    of_all = name.startswith(("model", "run"))  # nobody's own: who may, may with all
    if row.needs and "pk" in str(next(r.pattern for r in v1 if getattr(r, "name", "") == name)) and not of_all:
        assert answer.status_code == 404, "the verb's permission alone opens nobody else's object"
    permitted = client_of("permitted", *row.needs, *VIEW)
    if name.startswith("recipe") and method in {"post", "delete"}:
        assert answer.status_code == row.permitted, "recipes are the whole shop's"
    elif name not in {"job-cancel", "job-retry"} and not (method == "post" and name.endswith(DECIDED)):
        assert ask(permitted, method, url, row).status_code == row.permitted
    owner = world["owner"]
    if row.owner_has:
        from django.contrib.auth.models import Permission

        owner.user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="shopgen", codename__in=row.owner_has)
        )
    answer = ask(owner, method, url, row)
    assert answer.status_code == row.owner, answer.content


@pytest.mark.parametrize(
    ("name", "method"),
    sorted(key for key, row in MATRIX.items() if row.needs and "post" in key and "recipe" not in key[0]), ids=str,
)
def test_the_permitted_may(name: str, method: str, world: dict[str, Any], client_of: Any) -> None:
    row = MATRIX[name, method]
    permitted = client_of("permitted", *row.needs, *VIEW)
    answer = ask(permitted, method, address(name, key_of(world, name)), row)
    assert answer.status_code == row.permitted, answer.content


@pytest.mark.parametrize(("name", "method"), sorted(MATRIX), ids=lambda value: value)
def test_a_foreign_object_answers_like_a_missing_one(
    name: str, method: str, world: dict[str, Any], client_of: Any
) -> None:
    row = MATRIX[name, method]
    if "<uuid:pk>" not in str(next(route.pattern for route in v1 if getattr(route, "name", "") == name)):
        assert address(name, None) == address(name, MISSING)
        return
    for permissions in {(), row.needs}:
        if name.startswith(("model", "run")) and permissions:
            continue  # models and their trainings belong to nobody
        client = client_of(f"somebody{len(permissions)}", *permissions, is_staff=False)
        foreign = ask(client, method, address(name, key_of(world, name)), row)
        missing = ask(client, method, address(name, MISSING), row)
        assert (foreign.status_code, foreign.json()) == (missing.status_code, missing.json())


@pytest.mark.parametrize("name", sorted({name for name, _method in MATRIX}))
def test_other_methods_are_refused_and_change_nothing(name: str, world: dict[str, Any], staff: APIClient) -> None:
    url = address(name, key_of(world, name))
    before = list(Job.objects.order_by("pk").values())
    for method in METHODS:
        if (name, method) not in MATRIX:
            answer = getattr(staff, method)(url, {}, format="json")
            assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed"), method
    assert list(Job.objects.order_by("pk").values()) == before


def test_foreign_pictures_are_no_inputs(client_of: Any, model: Any) -> None:
    """What a body names is held to the same rule as what an address names."""
    image = make_image(created_by=client_of("owner").user)
    other = client_of("other", "submit_job")
    answers = [
        other.post(f"{BASE}/jobs/", {"operation": "generate", "inputs": [pk]}, format="json")
        for pk in (str(image.pk), MISSING)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    texts = [answer.content.decode().replace(str(image.pk), MISSING) for answer in answers]
    assert texts[0] == texts[1]


def test_an_action_that_nobody_has_thought_about_is_closed(staff: APIClient) -> None:
    class Forgetful:
        verbs: ClassVar[dict[str, tuple[str, ...]]] = {"list": ()}
        action = "destroy"

    staff.user.is_superuser = True  # type: ignore[attr-defined]
    request = SimpleNamespace(user=staff.user)  # type: ignore[attr-defined]
    assert not VerbPermission().has_permission(request, Forgetful())  # type: ignore[arg-type]
    assert VerbPermission().has_permission(request, SimpleNamespace(verbs={"list": ()}, action="list"))  # type: ignore[arg-type]


def test_mass_assignment_is_refused(staff: APIClient, model: Any) -> None:
    for extra in ({"state": "succeeded"}, {"created_by": 1}, {"attempt": 9}, {"priority": 99}, {"model_version": "x"}):
        answer = staff.post(f"{BASE}/jobs/", {"operation": "generate", **extra}, format="json")
        assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, list(extra))
    image = make_image(ImageState.IN_REVIEW)
    answer = staff.post(
        f"{BASE}/images/{image.pk}/review/", {"decision": "approved", "state": "published"}, format="json"
    )
    assert answer.status_code == 400
    image.refresh_from_db()
    assert image.state == ImageState.IN_REVIEW


def test_sessions_need_the_csrf_token(staff: APIClient, model: Any) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(staff.user)  # type: ignore[attr-defined]
    answer = client.post(f"{BASE}/jobs/", {"operation": "generate"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    answer = client.post(f"{BASE}/images/", _upload(), format="multipart")
    assert answer.status_code == 403
    assert not Job.objects.exists()
    token = "a" * 32
    client.cookies["csrftoken"] = token
    answer = client.post(f"{BASE}/jobs/", {"operation": "generate"}, format="json", headers={"x-csrftoken": token})
    assert answer.status_code == 202
