"""``recipe``: one job for a chain; every step's result is a picture with its lineage, only the last goes to review."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageDraw

from shopgen_django.exceptions import InvalidParameters, JobCancelled
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ImageState, Job, ProductImage
from shopgen_django.operations import chains
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.chains import parse_steps, run_chain
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.editing import edit_picture
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

from .studio import noisy, run_all, source

CHAIN = [
    {"operation": "correct", "params": {"exposure": False}},
    {"operation": "cut_out", "params": {}},
    {"operation": "fit", "params": {"sizes": ["thumbnail_400", "square_1000"]}},
]

FAN: dict[str, Any] = {
    "operation": "fit",
    "params": {"sizes": ["thumbnail_400", "square_1000", "square_2000", "shop_zoom_2048", "story_1080x1920"]},
}


def studio() -> Image.Image:
    image = Image.new("RGB", (240, 200), (228, 214, 196))
    ImageDraw.Draw(image).ellipse((60, 40, 180, 170), fill=(180, 40, 60))
    return noisy(image, 2.0)


def test_steps_follow_each_other_and_fan_out() -> None:
    outputs = run_all("recipe", studio(), recipe="own", steps=CHAIN)
    assert [output.made_from for output in outputs] == [(), (0,), (1,), (1,)]
    assert [output.image.size for output in outputs] == [(240, 200), (240, 200), (400, 400), (1000, 1000)]
    assert [output.format for output in outputs] == ["PNG", "PNG", "JPEG", "JPEG"]
    assert [bool(output.held_back) for output in outputs] == [True, True, False, False]
    assert "Step 1 of 3" in outputs[0].held_back
    assert outputs[0].parents == ("image-0",) and outputs[3].parents == ()
    # What earlier steps measured stays with the last.
    assert outputs[3].measurements["cutout_confidence"] == outputs[1].measurements["cutout_confidence"]
    assert outputs[3].measurements["gain_blue"] > 1.1


def test_a_doubt_of_any_step_holds_the_result_back(settings: Any) -> None:
    settings.SHOPGEN = {"ENGINES": {"cutout": {"BACKEND": "tests.operations.test_cut_out.Halves"}}}
    steps = [{"operation": "cut_out", "params": {"sure": 1.0}}, {"operation": "fit", "params": {}}]
    first, last = run_all("recipe", studio(), recipe="own", steps=steps)
    assert "uncertain" in last.held_back and "Step 1" in first.held_back


def test_what_a_result_is_made_of_follows_from_all_steps() -> None:
    steps = [{"operation": "background", "params": {"shadow": "soft"}}, {"operation": "fit", "params": {}}]
    outputs = run_all("recipe", studio(), recipe="own", steps=steps)
    assert [output.digital_source for output in outputs] == ["compositeCapture"] * 2


@pytest.mark.django_db
def test_a_job_keeps_the_steps_that_it_was_queued_with() -> None:
    parse = get_operation("recipe").Parameters.parse
    parsed = parse({"recipe": "marketplace-white"})
    assert [step["operation"] for step in parsed["steps"]] == ["background"]
    assert parsed["steps"][0]["params"]["width"] == 2000 and parsed["steps"][0]["params"]["margin"] == 0.075
    assert parse(parsed) == parsed  # read again by the worker, the steps go before the name
    estimate = get_operation("recipe").estimate(parse({"recipe": "phone-to-shop"}), 1)
    assert estimate.outputs == 3 and estimate.seconds > 3.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"recipe": "own"}, "Give the steps"),
        ({"recipe": "own", "steps": {"operation": "fit"}}, "are a list"),
        ({"recipe": "own", "steps": [{"operation": "polish"}]}, "Step 1: There is no operation polish"),
        ({"recipe": "own", "steps": [FAN, FAN, FAN]}, "would make 155 pictures"),
        ({"recipe": "own", "steps": [{"operation": "fit", "params": {"width": 1}}]}, "Step 1"),
        ({"recipe": "own", "steps": [{"operation": "recipe"}]}, "does not make a picture"),
        ({"recipe": "own", "steps": [{"operation": "generate"}]}, "does not make a picture"),
        ({"recipe": "own", "steps": [{"operation": "fit"}] * 21}, "1 to 20 steps"),
        ({"recipe": "nothing"}, "no recipe nothing. Known are: marketplace-white"),
        ({"recipe": "own", "steps": [{"operation": "fit", "size": 3}]}, "Unknown in step 1: size"),
        ({"recipe": "own", "steps": [{"operation": "fit", "params_version": 99}]}, "number from 1 to 1"),
    ],
)
@pytest.mark.django_db
def test_wrong_recipes_are_refused_when_they_are_queued(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        get_operation("recipe").Parameters.parse(params)
    assert message in str(caught.value.fields)


def test_no_more_steps_are_looked_at_than_a_recipe_has(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(chains, "get_operation", looked_at.append)
    with pytest.raises(InvalidParameters, match="1 to 20 steps"):
        parse_steps([{"operation": "fit"}] * 30_000)
    assert not looked_at


def test_the_estimate_counts_what_each_picture_of_a_step_becomes() -> None:
    operation = get_operation("recipe")
    one, two = (operation.Parameters.parse({"recipe": "own", "steps": [FAN] * count}) for count in (1, 2))
    assert operation.estimate(one, 1).outputs == 5 and operation.estimate(two, 1).outputs == 5 + 25
    assert operation.estimate(two, 1).seconds == pytest.approx(6 * operation.estimate(one, 1).seconds)


def test_progress_rises_over_all_steps_and_cancelling_stops_between_them() -> None:
    shares: list[float] = []
    operation = get_operation("recipe")
    params = operation.Parameters.parse({"recipe": "own", "steps": CHAIN})
    report = lambda share, stage="": shares.append(share)  # noqa: E731
    list(operation.run(OperationContext(params=params, inputs=(source(studio()),), report=report)))
    assert shares == sorted(shares) and shares[-1] == 1.0 and shares[0] < 0.4

    def check() -> None:
        if len(shares) > 1:
            raise JobCancelled("stop")

    shares.clear()
    with pytest.raises(JobCancelled):
        list(operation.run(OperationContext(params=params, inputs=(source(studio()),), report=report, check=check)))


def test_a_folder_and_a_job_go_through_the_same_chain() -> None:
    given = source(studio())
    steps = parse_steps(CHAIN)
    made = [each for each in run_chain(given, steps, OperationContext(params={})) if each.step == 2]
    edited = edit_picture(given.content, steps)
    assert len(edited.results) == len(made) == 2
    assert edited.uncertainty == pytest.approx(1.0 - run_all("recipe", given, recipe="own", steps=CHAIN)[1]
                                               .measurements["cutout_confidence"])  # fmt: skip


@pytest.mark.django_db
def test_the_job_keeps_every_step_with_its_lineage() -> None:
    photo = make_image(content=source(studio()).content, digital_source="trainedAlgorithmicMedia")
    job, _new = submit_job(
        operation="recipe", params={"recipe": "own", "steps": CHAIN}, inputs=[photo],
        user=make_user("anna", "submit_job"),
    )
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    first, second, small, large = ProductImage.objects.filter(job=job).order_by("index")
    lineage = [list(each.parents.all()) for each in (first, second, small, large)]
    assert lineage == [[photo], [first], [second], [second]]
    states = [each.state for each in (first, second, small, large)]
    assert states == [ImageState.DRAFT, ImageState.DRAFT, ImageState.IN_REVIEW, ImageState.IN_REVIEW]
    assert "Step 2 of 3" in second.gate_reason
    # A generated picture stays marked through all steps.
    assert {each.digital_source for each in (first, second, small, large)} == {"trainedAlgorithmicMedia"}
    assert Job.objects.get(pk=job.pk).params["steps"][0]["operation"] == "correct"
