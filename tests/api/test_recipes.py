"""Recipes over HTTP: read, saved, changed, deleted, sent from shop to shop, run."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

from shopgen_django.models import Job, Recipe
from tests.api.conftest import BASE
from tests.factories import make_image

BODY: dict[str, Any] = {
    "name": "list-small", "label": "Small for lists",
    "steps": [{"operation": "correct"}, {"operation": "fit", "params": {"sizes": ["thumbnail_400"]}}],
}


def test_the_life_of_a_recipe(staff: APIClient) -> None:
    made = staff.post(f"{BASE}/recipes/", BODY, format="json")
    assert made.status_code == 201 and made["Location"] == made.json()["url"]
    shown = made.json()
    assert (shown["version"], shown["built_in"], shown["created_by"]) == (1, False, "staff")
    names = [each["name"] for each in staff.get(f"{BASE}/recipes/").json()["results"]]
    assert names[0] == "list-small" and "marketplace-white" in names
    assert staff.post(f"{BASE}/recipes/", BODY, format="json").json()["error"]["code"] == "recipe_exists"
    # What was read is sent back, changed; a second editor with the old version is refused.
    changed = staff.put(shown["url"], {**shown, "label": "Smaller"}, format="json")
    assert changed.status_code == 200, changed.content
    assert (changed.json()["label"], changed.json()["version"]) == ("Smaller", 2)
    assert staff.put(shown["url"], {**shown, "label": "Mine"}, format="json").status_code == 409
    read = staff.get(shown["url"])
    assert staff.get(shown["url"], headers={"if-none-match": read["ETag"]}).status_code == 304
    assert staff.delete(shown["url"]).status_code == 204 and staff.get(shown["url"]).status_code == 404
    # An export goes into another shop as it is.
    assert staff.post(f"{BASE}/recipes/", read.json(), format="json").status_code == 201


def test_a_built_in_one_is_read_and_not_changed(staff: APIClient) -> None:
    url = f"{BASE}/recipes/studio/"
    shown = staff.get(url).json()
    assert shown["built_in"] and shown["version"] == 0 and shown["steps"][0]["operation"] == "background"
    assert staff.put(url, shown, format="json").status_code == 409
    assert staff.delete(url).status_code == 409
    assert staff.put(f"{BASE}/recipes/none/", BODY, format="json").status_code == 404


def test_mistakes_are_told_where_they_are(staff: APIClient) -> None:
    for change, field in (
        ({"steps": [{"operation": "fit", "params": {"sizes": ["moon"]}}]}, "steps"),
        ({"steps": []}, "steps"), ({"steps": [{"operation": "nothing"}]}, "steps"),
        ({"steps": [{"operation": "fit", "extra": 1}]}, "steps"), ({"name": "a b"}, "name"),
        ({"name": "fit"}, "name"), ({"colour": "red"}, "colour"), ({"label": ""}, "label"),
    ):
        answer = staff.post(f"{BASE}/recipes/", {**BODY, **change}, format="json")
        assert answer.status_code == 400, (change, answer.content)
        assert any(name.startswith(field) for name in answer.json()["error"]["fields"]), answer.content
    assert not Recipe.objects.exists()


def test_jobs_and_batches_take_its_name(staff: APIClient) -> None:
    staff.post(f"{BASE}/recipes/", BODY, format="json")
    photos = [str(make_image(kind="source", colour=colour).pk) for colour in ("#111111", "#222222")]
    ask = {"operation": "recipe", "params": {"recipe": "list-small"}}
    answer = staff.post(f"{BASE}/jobs/", {**ask, "inputs": photos[:1]}, format="json")
    assert answer.status_code == 202, answer.content
    assert [step["operation"] for step in Job.objects.get().params["steps"]] == ["correct", "fit"]
    answer = staff.post(f"{BASE}/jobs/batch/", {**ask, "images": photos}, format="json")
    assert answer.status_code == 202 and Job.objects.count() == 3, answer.content
    answer = staff.post(f"{BASE}/jobs/", {**ask, "params": {"recipe": "gone"}, "inputs": photos[:1]}, format="json")
    assert answer.status_code == 400 and "list-small" in str(answer.json()["error"]["fields"])
