"""Recipes as rows: found before built-in ones, checked when saved, upgraded when read, frozen into jobs."""

from __future__ import annotations

from typing import Any

import pytest

from shopgen_django import models
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed, NotFound
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ImageState, Job
from shopgen_django.operations.fit import Fit
from shopgen_django.operations.registry import get_operation
from shopgen_django.services import recipes
from shopgen_django.services.batch import BatchItem, submit_batch
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

pytestmark = pytest.mark.django_db
FIT = [{"operation": "fit", "params": {"sizes": ["thumbnail_400"]}}]


def saved(**values: Any) -> models.Recipe:
    row = recipes.create_recipe(**{"name": "small", "label": "Small", "steps": FIT, **values}).row
    assert row is not None
    return row


def test_a_row_goes_before_the_built_in_of_its_name() -> None:
    assert recipes.get_recipe("studio").built_in
    saved(name="studio", label="Our studio")
    assert recipes.get_recipe("studio").label == "Our studio"
    assert recipes.get_recipe("studio", rows=False).built_in
    assert [recipe.name for recipe in recipes.all_recipes()].count("studio") == 1
    assert get_operation("recipe").Parameters.parse({"recipe": "studio"})["steps"][0]["operation"] == "fit"


def test_an_export_is_read_again() -> None:
    saved(description="For lists")
    plain = recipes.get_recipe("small").as_dict()
    again = recipes.parse_recipe(plain)
    assert again.as_dict() == plain and again.description == "For lists"
    assert plain["steps"][0]["params_version"] == 1 and plain["steps"][0]["params"]["sizes"] == ["thumbnail_400"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "A recipe is"), ('{"steps": ' + "[" * 100_000, "not valid JSON"), ('{"steps": [3]}', "Step 1"),
        ('{"label": "\\ud800", "steps": [{"operation": "fit"}]}', "surrogates"),
        ('{"steps": [{"operation": "fit", "params": {"margin": NaN}}]}', "margin"),
        ('{"steps": [{"operation": "fit", "params": {"margin": ' + "9" * 400 + "}}]}", "too large"),
        ('{"steps": [{"operation": "fit"}], "owner": 1}', "Unknown in a recipe: owner"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(InvalidParameters, match=words):
        recipes.read_json(text)


def test_a_file_may_begin_with_a_mark_of_its_encoding() -> None:
    assert recipes.read_json('\ufeff{"name": "mine", "steps": [{"operation": "fit"}]}').name == "mine"


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"name": "a b"}, "name", "letters, digits"),
        ({"name": "fit"}, "name", "name of an operation"),
        ({"name": "own"}, "name", "name of an operation"),
        ({"label": " "}, "label", "1 to 100"),
        ({"description": "x" * 1001}, "description", "1000"),
        ({"steps": []}, "steps", "1 to 20 steps"),
        ({"steps": [{"operation": "fit", "params": {"sizes": ["moon"]}}]}, "steps", "Step 1"),
    ],
)
def test_what_cannot_be_saved_says_why(values: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        saved(**values)
    assert words in str(caught.value.fields[field][0]) and not models.Recipe.objects.exists()


def test_each_verb_has_its_permission() -> None:
    nobody = make_user("nobody", "submit_job", "view_recipe")
    row = saved()
    for call in (
        lambda: saved(name="other", user=nobody),
        lambda: recipes.update_recipe(recipe=row, label="x", steps=FIT, user=nobody),
        lambda: recipes.delete_recipe(recipe=row, user=nobody),
    ):
        with pytest.raises(NotAllowed):
            call()
    assert list(models.Recipe.objects.values_list("label", flat=True)) == ["Small"]


def test_two_editors_do_not_overwrite_each_other() -> None:
    row = saved()
    recipes.update_recipe(recipe=row, label="First", steps=FIT, version=1)
    with pytest.raises(InvalidState, match="Somebody else"):
        recipes.update_recipe(recipe=row, label="Second", steps=FIT, version=1)
    row.refresh_from_db()
    assert (row.label, row.version) == ("First", 2)
    recipes.delete_recipe(recipe=row)
    with pytest.raises(NotFound, match="deleted meanwhile"):
        recipes.update_recipe(recipe=row, label="Third", steps=FIT)
    saved()
    with pytest.raises(InvalidState, match="already"):
        saved()


def test_stored_parameters_are_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    row = saved()

    def upgrade(params: dict[str, Any], from_version: int) -> dict[str, Any]:
        assert from_version == 1
        return {**params, "sizes": ["square_1000"]}

    monkeypatch.setattr(Fit.Parameters, "version", 2)
    monkeypatch.setattr(Fit.Parameters, "upgrade", upgrade)
    (step,) = recipes.get_recipe(row.name).as_dict()["steps"]
    assert step["params"]["sizes"] == ["square_1000"] and step["params_version"] == 2


def test_jobs_keep_the_steps_that_they_were_queued_with() -> None:
    row, photo = saved(), make_image(kind="source")
    user = make_user("anna", "submit_job")
    ask: dict[str, Any] = {
        "operation": "recipe", "params": {"recipe": "small"}, "inputs": [photo], "user": user, "idempotency_key": "k"
    }
    job, _new = submit_job(**ask)
    recipes.update_recipe(recipe=row, label="Large", steps=[{"operation": "fit", "params": {"sizes": ["square_1000"]}}])
    assert submit_job(**ask) == (job, False), "the same request, though its recipe has changed"
    other, _new = submit_job(**{**ask, "idempotency_key": ""})
    recipes.delete_recipe(recipe=row)
    for each, side in ((job, 400), (other, 1000)):
        run_job(str(each.pk))
        each.refresh_from_db()
        assert each.state == "succeeded", each.error_detail
        (made,) = each.images.all()
        assert (made.width, made.state) == (side, ImageState.IN_REVIEW)


def test_a_batch_of_one_recipe() -> None:
    saved()
    photos = [make_image(kind="source", colour=colour) for colour in ("#101010", "#202020", "#303030")]
    batch, jobs, _new = submit_batch(
        operation="recipe", params={"recipe": "small"}, user=make_user("anna", "submit_job"),
        items=[BatchItem(name=str(photo.pk), inputs=(photo,)) for photo in photos],
    )
    assert len(jobs) == 3 == Job.objects.filter(batch=batch, params__recipe="small").count()


def test_a_chain_waits_where_its_fastest_step_runs(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ACCELERATED_QUEUE": "gpu"}
    photo = make_image(kind="source")
    steps = {"slow": FIT, "fast": [{"operation": "denoise"}, *FIT]}
    made = {
        name: submit_job(operation="recipe", params={"recipe": "own", "steps": own}, inputs=[photo])[0].queue
        for name, own in steps.items()
    }
    assert made == {"slow": "cpu", "fast": "gpu"}
