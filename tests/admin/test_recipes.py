"""The recipes of the admin: edited step by step without scripts, tried, exported, imported, queued."""

from __future__ import annotations

import json
import re
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from shopgen_django.admin.recipe_steps import Steps, step_operations
from shopgen_django.models import Job, Recipe
from shopgen_django.services.recipes import create_recipe
from tests.factories import make_image, make_user

from .conftest import as_user

ADD = "/admin/shopgen/recipe/add/"
FIT = [{"operation": "fit", "params": {"sizes": ["thumbnail_400"]}}]


def fields_of(page: str) -> dict[str, Any]:
    """What a browser would send of the editor's form, without any button."""
    from html.parser import HTMLParser

    found: dict[str, Any] = {}

    class Reader(HTMLParser):
        name = ""
        area: str | None = None
        inside = False

        def handle_starttag(self, tag: str, pairs: Any) -> None:
            given = dict(pairs)
            if tag == "form":
                self.inside = "sg-recipe" in (given.get("class") or "")
            if not self.inside or "disabled" in given:
                return
            kind = given.get("type")
            if tag == "input" and kind not in {"submit", "button", "file"}:
                if kind in {"checkbox", "radio"} and "checked" not in given:
                    return
                found.setdefault(given["name"], []).append(given.get("value") or ("on" if kind == "checkbox" else ""))
            elif tag == "select":
                self.name = given["name"]
            elif tag == "option" and "selected" in given:
                found.setdefault(self.name, []).append(given["value"])
            elif tag == "textarea":
                self.name, self.area = given["name"], ""

        def handle_data(self, data: str) -> None:
            if self.area is not None:
                self.area += data

        def handle_endtag(self, tag: str) -> None:
            if tag == "textarea" and self.area is not None:
                found[self.name], self.area = [self.area.removeprefix("\r\n").removeprefix("\n")], None
            elif tag == "form":
                self.inside = False

    Reader().feed(page)
    return found


def press(desk: Client, address: str, page: str, **changed: Any) -> Any:
    return desk.post(address, {**fields_of(page), **changed})


def test_a_recipe_is_built_step_by_step(desk: Client) -> None:
    page = desk.get(ADD).content.decode()
    assert "No steps yet" in page
    for name in ("fit", "correct", "cut_out"):
        page = press(desk, ADD, page, add="1", adding=name).content.decode()
    assert fields_of(page)["order"] == ["0,1,2"]
    page = press(desk, ADD, page, up="1").content.decode()
    page = press(desk, ADD, page, down="0").content.decode()
    assert fields_of(page)["order"] == ["1,2,0"]
    page = press(desk, ADD, page, remove="2").content.decode()
    assert fields_of(page)["order"] == ["1,0"]
    assert not Recipe.objects.exists(), "nothing is saved before Save is pressed"
    answer = press(desk, ADD, page, save="1", label="Lists", name="lists", **{"s0-sizes": ["thumbnail_400"]})
    assert answer.status_code == 302, re.findall(r'class="(?:errorlist|sg-problem)".*', answer.content.decode())
    row = Recipe.objects.get()
    assert [step["operation"] for step in row.steps] == ["correct", "fit"]
    assert row.steps[1]["params"]["sizes"] == ["thumbnail_400"] and row.created_by.username == "boss"


def test_mistakes_stand_at_their_step_and_nothing_is_lost(desk: Client) -> None:
    page = press(desk, ADD, desk.get(ADD).content.decode(), add="1", adding="background").content.decode()
    page = press(desk, ADD, page, save="1", label="Wide", name="fit", **{"s0-margin": "7"}).content.decode()
    step = page[page.index('id="step-0"'):]
    assert "errorlist" in step and 'value="7"' in step and 'value="Wide"' in page
    page = press(desk, ADD, page, save="1", **{"s0-margin": "0.1"}).content.decode()
    assert "This is the name of an operation" in page
    page = press(desk, ADD, page, remove="0").content.decode()
    assert "Add at least one step" in press(desk, ADD, page, save="1", name="wide").content.decode()
    assert not Recipe.objects.exists()


def test_every_operations_form_survives_the_way_through_the_page(desk: Client) -> None:
    for operation in step_operations():
        page = press(desk, ADD, desk.get(ADD).content.decode(), add="1", adding=operation.name).content.decode()
        needed = {
            f"s0-{name}": "a red dress" for name, field in operation.Parameters.base_fields.items()
            if field.required and operation.Parameters.defaults().get(name) in (None, "")
        }
        name = operation.name.replace("_", "-") + "-alone"
        answer = press(desk, ADD, page, save="1", label=name, name=name, **needed)
        if "diffusion" in operation.engines:
            assert "sg-problem" in answer.content.decode() and answer.status_code == 200, "no large model is set up"
            continue
        assert answer.status_code == 302, (name, re.findall(r"(?:errorlist|sg-problem).*", answer.content.decode()))
        row = Recipe.objects.get(name=name)
        address = reverse("admin:shopgen_recipe_change", args=[row.pk])
        before = row.steps
        assert press(desk, address, desk.get(address).content.decode(), save="1").status_code == 302
        row.refresh_from_db()
        assert row.steps == before and row.version == 2


def test_two_people_edit_at_once(desk: Client) -> None:
    row = create_recipe(name="small", label="Small", steps=FIT).row
    assert row is not None
    address = reverse("admin:shopgen_recipe_change", args=[row.pk])
    mine = theirs = desk.get(address).content.decode()
    assert press(desk, address, theirs, save="1", label="Theirs").status_code == 302
    page = press(desk, address, mine, save="1", label="Mine").content.decode()
    assert "Somebody else has changed this recipe" in page and 'value="Mine"' in page
    row.refresh_from_db()
    assert row.label == "Theirs"


def test_built_in_ones_are_copied_to_be_edited(desk: Client) -> None:
    page = desk.get("/admin/shopgen/recipe/").content.decode()
    assert "Built-in recipes" in page and "?copy=studio" in page and "Margin: 0.12" in page
    page = desk.get(ADD + "?copy=studio").content.decode()
    assert press(desk, ADD, page, save="1").status_code == 302
    assert Recipe.objects.get().name == "studio-copy" and Recipe.objects.get().steps[0]["params"]["ground"] == "sweep"
    assert desk.get(ADD + "?copy=nothing").status_code == 404


def test_a_file_goes_out_and_comes_in(desk: Client) -> None:
    create_recipe(name="small", label="Small", steps=FIT)
    sent = desk.get("/admin/shopgen/recipe/small/export/")
    assert json.loads(sent.content)["steps"][0]["operation"] == "fit" and "small.json" in sent["Content-Disposition"]
    Recipe.objects.all().delete()
    page = desk.post(
        "/admin/shopgen/recipe/import/", {"file": SimpleUploadedFile("small.json", sent.content)}
    ).content.decode()
    assert not Recipe.objects.exists(), "looked at first"
    assert press(desk, ADD, page, save="1").status_code == 302
    assert Recipe.objects.get().steps[0]["params"]["sizes"] == ["thumbnail_400"]
    for content, words in ((b"{", "not valid JSON"), (b'{"steps": [{"operation": "x"}]}', "no operation x")):
        page = desk.post("/admin/shopgen/recipe/import/", {"file": SimpleUploadedFile("a.json", content)})
        assert words in page.content.decode()


def test_try_leads_to_the_queue_with_this_recipe(desk: Client) -> None:
    create_recipe(name="small", label="Small for lists", steps=FIT)
    photo = make_image(kind="source")
    page = desk.get("/admin/shopgen/recipe/small/try/").content.decode()
    assert str(photo.pk) in page and 'value="recipe:small"' in page
    address = reverse("admin:shopgen_productimage_run")
    body = {"pk": [str(photo.pk)], "operation": "recipe:small"}
    page = desk.post(address, body).content.decode()
    assert '<option value="recipe:small" selected>Small for lists</option>' in page and "1 job" in page
    assert 'value="recipe:marketplace-white"' in page and "Thumbnail" in page
    assert 'name="p-steps"' not in page, "nobody has to write JSON"
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token
    answer = desk.post(address, {**body, "shown": "recipe:small", "token": token[1], "queue": "1"})
    assert answer.status_code == 302
    job = Job.objects.get()
    assert (job.operation, job.params["recipe"], len(job.params["steps"])) == ("recipe", "small", 1)
    shown = desk.get(reverse("admin:shopgen_job_change", args=[job.pk])).content.decode()
    assert "1. Fit to channel sizes" in shown and "&#x27;operation&#x27;" not in shown


def test_marks_that_came_with_a_file_are_kept_and_not_shown(desk: Client) -> None:
    steps = [{"operation": "cut_out", "params": {"box": [0.1, 0.1, 0.9, 0.9]}}]
    row = create_recipe(name="boxed", label="Boxed", steps=steps).row
    assert row is not None
    address = reverse("admin:shopgen_recipe_change", args=[row.pk])
    page = desk.get(address).content.decode()
    assert '<input type="hidden" name="s0-box"' in page
    assert press(desk, address, page, save="1").status_code == 302
    row.refresh_from_db()
    assert row.version == 2 and row.steps[0]["params"]["box"] == [0.1, 0.1, 0.9, 0.9]


def test_who_may(db: None) -> None:
    row = create_recipe(name="small", label="Small", steps=FIT).row
    assert row is not None
    change = reverse("admin:shopgen_recipe_change", args=[row.pk])
    reader = as_user(make_user("reader", "submit_job"))
    assert reader.get("/admin/shopgen/recipe/").status_code == 200
    page = reader.get(change).content.decode()
    assert "Save" not in page and reader.post(change, {"save": "1"}).status_code == 403
    assert reader.get(ADD).status_code == 403 and reader.get("/admin/shopgen/recipe/import/").status_code == 403
    nobody = as_user(make_user("nobody"))
    for address in ("/admin/shopgen/recipe/", change, "/admin/shopgen/recipe/small/export/",
                    "/admin/shopgen/recipe/small/try/"):  # fmt: skip
        assert nobody.get(address).status_code == 403


def test_a_step_whose_operation_is_gone_is_told() -> None:
    steps = Steps.stored([{"operation": "vanished", "params": {}}, *FIT])
    assert [step.operation.name for step in steps.forms] == ["fit"] and "vanished" in steps.problems[0]
