"""The page of large models and networks: looked at, asked on, never doing the work itself."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from shopgen_django.models import Job, JobState, ModelVersion, SuppliedModel
from shopgen_django.services.supplied import get_supplied
from tests.diffusion.test_folder import UNET, flip
from tests.factories import make_user

from .conftest import LICENCE, SOURCE, done

pytestmark = pytest.mark.django_db
LIST, ADD, LIVE = (f"admin:shopgen_suppliedmodel_{name}" for name in ("changelist", "add", "live"))
BODY = {"path": "tiny-sd", "name": "house", "licence": LICENCE, "commercial": "yes", "source": SOURCE, "base": "SD 1.5"}


def verb(name: str, model: str = "house") -> str:
    return reverse(f"admin:shopgen_suppliedmodel_{name}", args=[model])


def shown(client: Client, address: str = LIST) -> str:
    answer = client.get(reverse(address) if address.startswith("admin:") else address)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_the_app_s_index_leads_to_it(desk: Client) -> None:
    index = shown(desk, reverse("admin:app_list", args=["shopgen"]))
    assert reverse(LIST) in index and "Large models and networks" in index and reverse(ADD) in index
    page = shown(desk)
    assert "No model has been added yet" in page and "Ships with the package" in page and "CC0-1.0" in page
    assert "manage.py shopgen_model add u2netp" in page


def test_added_seen_verified_damaged_removed(desk: Client, incoming: Path, root: Path, boss: Any) -> None:
    assert str(incoming) in shown(desk, ADD), "what lies in the allowed folders is offered"
    answer = desk.post(reverse(ADD), BODY, follow=True)
    assert "A worker is asked to add house" in answer.content.decode()
    assert answer.redirect_chain[-1][0].endswith("#model-house")
    desk.post(reverse(ADD), BODY)  # the second click
    job = Job.objects.get()
    page = shown(desk)
    assert "Add house" in page and "Waits for a worker" in page and "no worker is running" in page
    assert desk.get(reverse(LIVE)).json()["active"]
    done(job)
    assert not desk.get(reverse(LIVE)).json()["active"]
    page = shown(desk)
    for text in ("Stable Diffusion 1 or 2", f"{LICENCE} · commercial use allowed", "SD 1.5", SOURCE, "by boss",
                 "every file is as it was added", get_supplied("house").sha256, str(incoming.resolve()),
                 "Create from words"):
        assert text in page, text
    assert '"diffusion": {"OPTIONS": {"MODEL": "house"}}' in page
    flip(incoming / UNET)
    assert "being verified" not in page
    assert "A worker is asked to verify" in desk.post(verb("verify"), follow=True).content.decode()
    assert "being verified" in shown(desk)
    done(Job.objects.latest("created_at"))
    page = shown(desk)
    assert "not as it should be" in page and "unet/diffusion_pytorch_model.safetensors" in page
    assert "Nothing that is known here uses it" in shown(desk, verb("remove"))
    assert "A worker is asked to remove" in desk.post(verb("remove"), follow=True).content.decode()
    desk.post(verb("remove"))
    done(Job.objects.latest("created_at"))
    assert Job.objects.count() == 3 and not SuppliedModel.objects.exists() and (incoming / UNET).is_file()
    assert LogEntry.objects.filter(object_repr="house").exists()


def test_why_it_could_not_be_added(desk: Client, incoming: Path) -> None:
    weights = incoming / UNET
    weights.rename(weights.with_suffix(".ckpt"))
    desk.post(reverse(ADD), BODY)
    done(Job.objects.get())
    assert "can run any program when they are opened" in " ".join(shown(desk).split())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"path": "/etc"}, "Models may be added from folders below incoming_models"),
        ({"path": "../outside"}, "Models may be added from folders below incoming_models"),
        ({"path": "weights.bin"}, "can run any program when it is opened"),
        ({"commercial": "no"}, "Set SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS']"),
        ({"licence": "CC-BY-NC-4.0"}, "forbids commercial use by its name"),
        ({"commercial": ""}, "This field is required"),
        ({"name": "Ours!"}, "small letters, digits"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_asked(desk: Client, values: dict[str, str], words: str) -> None:
    answer = desk.post(reverse(ADD), {**BODY, **values})
    assert answer.status_code == 200 and words in html.unescape(answer.content.decode())
    assert not Job.objects.exists()


def test_the_page_that_removes_says_what_uses_it(desk: Client, house: Path, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {"OPTIONS": {"MODEL": "house"}}}}
    ModelVersion.objects.create(
        name="ours", version=1, purpose="lora:ours", folder="x", weights_sha256="0" * 64, weights_bytes=1,
        config={"base": {"sha256": get_supplied("house").sha256}},
    )
    Job.objects.create(operation="create", params={})
    page = shown(desk, verb("remove"))
    for text in ("The engine “diffusion”", "ours v1", "ask for it: 1", "The folder with its files stays"):
        assert text in page, text
    assert not Job.objects.filter(params__verb="remove").exists(), "looking removes nothing"


def test_verbs_are_posts(desk: Client, house: Path) -> None:
    assert desk.get(verb("verify")).status_code == 405
    assert desk.get(reverse("admin:shopgen_suppliedmodel_look")).status_code == 405
    assert desk.post(verb("verify", "none")).status_code == 404
    assert desk.get(verb("remove", "cutout")).status_code == 404, "what ships is not to be removed"
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = desk.cookies
    assert strict.post(verb("verify")).status_code == 403


def test_a_worker_is_asked_what_is_there(desk: Client, house: Path) -> None:
    SuppliedModel.objects.all().delete()
    desk.post(reverse("admin:shopgen_suppliedmodel_look"))
    done(Job.objects.latest("created_at"))
    assert SuppliedModel.objects.get().name == "house"


def test_each_verb_needs_its_own_permission(house: Path) -> None:
    def client(*permissions: str) -> Client:
        made = Client()
        made.force_login(make_user("-".join(permissions) or "nobody", *permissions))
        return made

    nobody = client()
    for address in (reverse(LIST), reverse(LIVE), reverse(ADD), verb("remove")):
        assert nobody.get(address).status_code == 403
    viewer = client("view_suppliedmodel")
    page = shown(viewer)
    assert "Verify now" not in page and "Remove …" not in page and "Add a model" not in page
    assert viewer.get(reverse(ADD)).status_code == 403 == viewer.get(verb("remove")).status_code
    viewer.post(verb("verify"))
    viewer.post(reverse("admin:shopgen_suppliedmodel_look"))
    assert Job.objects.count() == 1, "only that of the fixture"
    assert "Verify now" in shown(client("verify_suppliedmodel")) and "Remove …" in shown(client("delete_suppliedmodel"))
    adder = client("add_suppliedmodel")
    assert adder.get(reverse(ADD)).status_code == 200 and adder.post(verb("remove")).status_code == 403


def test_what_another_machine_reported_is_told_as_that(desk: Client) -> None:
    row = SuppliedModel.objects.create(name="far", kind="Flux", licence="Apache-2.0", commercial=True, host="gpu-1")
    page = shown(desk)
    assert "in the folder of models of gpu-1" in page and "this server does not see it" in page
    assert desk.get(reverse("admin:shopgen_suppliedmodel_change", args=[row.pk]))["Location"].endswith("#model-far")


def test_a_job_s_page_does_not_tell_the_folder(desk: Client, incoming: Path) -> None:
    desk.post(reverse(ADD), BODY)
    job = Job.objects.get()
    page = shown(desk, reverse("admin:shopgen_job_change", args=[job.pk]))
    assert "Look after a model" in page and "tiny-sd" not in page
    assert job.state == JobState.QUEUED
