"""Marks painted over a picture with the mouse and with keys alone, and what the form sends of them."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage
from tests.factories import make_image

from .conftest import photos

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]
STROKES, BOX = "[data-sg-marks=strokes]", "[data-sg-marks=box]"


@pytest.fixture
def picture(transactional_db: None) -> ProductImage:
    content, _label = photos(1, "Dress")[0]
    return make_image(content=content, kind="source")


def open_operation(page: Any, picture: ProductImage, name: str) -> None:
    page.goto(f"/admin/shopgen/productimage/{picture.pk}/change/")
    page.click("text=Run an operation …")
    page.select_option("#sg-operation", name)
    page.click("text=Show its settings")
    expect(page.locator(".sg-marks-canvas")).to_be_visible()


def value(page: Any, field: str) -> Any:
    text = page.locator(field).input_value()
    return json.loads(text) if text else None


def drag(page: Any, *points: tuple[float, float]) -> None:
    edges = page.locator(".sg-marks-canvas").bounding_box()
    places = [(edges["x"] + x * edges["width"], edges["y"] + y * edges["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def test_painted_with_the_mouse_taken_back_and_queued(page: Any, picture: ProductImage, shoot: Any) -> None:
    open_operation(page, picture, "cut_out")
    drag(page, (0.4, 0.3), (0.5, 0.5), (0.5, 0.7))
    page.get_by_label("ground", exact=True).check()
    drag(page, (0.05, 0.05), (0.05, 0.9))
    page.get_by_label("box", exact=True).check()
    drag(page, (0.9, 0.95), (0.1, 0.05))
    strokes = value(page, STROKES)
    assert [stroke["keep"] for stroke in strokes] == [True, False]
    assert strokes[0]["points"][0] == pytest.approx([0.4, 0.3], abs=0.01)
    assert strokes[0]["points"][-1] == pytest.approx([0.5, 0.7], abs=0.01)
    assert value(page, BOX) == pytest.approx([0.1, 0.05, 0.9, 0.95], abs=0.01)
    shoot(page, "marks", whole=True)
    page.click("button:has-text('Undo')")
    assert value(page, BOX) is None
    page.click("button:has-text('Redo')")
    assert value(page, BOX) is not None
    page.click("button:has-text('Clear')")
    assert value(page, STROKES) is value(page, BOX) is None
    page.click("button:has-text('Undo')")
    page.click("button:has-text('Undo')")
    assert len(value(page, STROKES)) == 2 and value(page, BOX) is not None
    page.click("input[name=estimate]")  # marks survive the page being sent back and forth
    expect(page.locator(".sg-marks-canvas")).to_be_visible()
    assert value(page, STROKES) == strokes
    page.click("input[name=queue]")
    job = Job.objects.get(operation="cut_out")
    assert job.params["strokes"] == strokes and job.params["box"] == pytest.approx([0.1, 0.05, 0.9, 0.95], abs=0.01)
    assert run_job(job.pk) == "succeeded"


def test_with_keys_alone(page: Any, picture: ProductImage) -> None:
    open_operation(page, picture, "repair")
    canvas = page.locator(".sg-marks-canvas")
    canvas.focus()
    page.keyboard.press("+")
    page.keyboard.press("Space")
    for _step in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator(".sg-marks-status")).to_have_text("damage (1)")
    page.keyboard.press("2")
    expect(page.get_by_label("no damage", exact=True)).to_be_checked()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".sg-marks-status")).not_to_have_text("damage (2)")
    (stroke,) = value(page, STROKES)
    assert stroke["keep"] is True and stroke["radius"] == 0.035
    assert stroke["points"][0] == [0.5, 0.5] and stroke["points"][-1] == pytest.approx([0.53, 0.55])
    page.keyboard.press("Control+z")
    assert value(page, STROKES) is None
    page.keyboard.press("Control+y")
    assert value(page, STROKES) == [stroke]


def test_corners_in_any_order_and_numbers_by_hand(page: Any, picture: ProductImage) -> None:
    open_operation(page, picture, "correct")
    corners = [(0.9, 0.9), (0.1, 0.15), (0.15, 0.8), (0.8, 0.1)]
    for corner in corners:
        drag(page, corner)
    told = value(page, "[data-sg-marks=corners]")
    for got, wanted in zip(told, [(0.1, 0.15), (0.8, 0.1), (0.9, 0.9), (0.15, 0.8)], strict=True):
        assert got == pytest.approx(wanted, abs=0.01)
    drag(page, (0.82, 0.12))  # a fifth moves the nearest
    assert value(page, "[data-sg-marks=corners]")[1] == pytest.approx([0.82, 0.12], abs=0.01)
    page.click("summary:has-text('As numbers')")
    page.fill("[data-sg-marks=corners]", "[[0, 0], [1, 0], [1, 1], [0, 1]]")
    page.click("button:has-text('Clear')")
    assert value(page, "[data-sg-marks=corners]") is None


def test_a_finger_paints_and_the_page_does_not_scroll(browser: Any, page: Any, picture: ProductImage) -> None:
    """Narrow page, touch: the canvas fits, and a wipe over it is a stroke."""
    page.set_viewport_size({"width": 400, "height": 800})
    open_operation(page, picture, "repair")
    canvas = page.locator(".sg-marks-canvas")
    canvas.scroll_into_view_if_needed()
    edges = canvas.bounding_box()
    assert edges["x"] >= 0 and edges["x"] + edges["width"] <= 400
    before = page.evaluate("scrollY")
    session = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.7)):
        point = {"x": edges["x"] + 0.5 * edges["width"], "y": edges["y"] + share * edges["height"]}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".sg-marks-status")).to_have_text("damage (1)")
    assert len(value(page, STROKES)[0]["points"]) >= 3
    assert page.evaluate("scrollY") == before


def test_a_preview_through_the_queue(page: Any, picture: ProductImage, shoot: Any) -> None:
    """Asked for while no worker runs, made by one, asked for anew with other settings."""
    open_operation(page, picture, "cut_out")
    page.click("button:has-text('Preview')")
    status = page.locator(".sg-preview [role=status]")
    expect(status).to_contain_text("no worker is running")
    assert run_job(Job.objects.get().pk) == "succeeded"
    expect(page.locator(".sg-preview img")).to_have_count(2)
    shoot(page, "preview", whole=True)
    drag(page, (0.5, 0.3), (0.5, 0.7))
    page.click("button:has-text('Preview')")
    expect(status).to_contain_text("no worker is running")
    job = Job.objects.latest("created_at")
    assert job.params["params"]["strokes"]
    assert run_job(job.pk) == "succeeded"
    expect(status).to_contain_text("nothing is kept")
    assert ProductImage.objects.get() == picture


def test_a_mask_that_was_found_is_changed_by_hand(page: Any, picture: ProductImage, shoot: Any) -> None:
    """Photo and mask in one job: the mask shows, strokes go over it, and both reach the worker."""
    from io import BytesIO

    from PIL import Image

    mask = Image.new("L", (picture.width, picture.height), 0)
    mask.paste(255, (10, 10, 40, 40))
    buffer = BytesIO()
    mask.save(buffer, "PNG")
    found = make_image(content=buffer.getvalue(), kind="result")
    page.goto("/admin/shopgen/productimage/")
    for image in (picture, found):
        page.check(f"input[name=_selected_action][value='{image.pk}']")
    page.select_option("select[name=action]", label="Run an operation …")
    page.click("button[name=index]")
    page.select_option("#sg-operation", "repair")
    page.click("text=Show its settings")
    canvas = page.locator(".sg-marks-canvas")
    expect(canvas).to_be_visible()
    colour = """([x, y]) => {
        const canvas = document.querySelector(".sg-marks-canvas");
        const at = [Math.round(x * canvas.width), Math.round(y * canvas.height)];
        return [...canvas.getContext("2d").getImageData(at[0], at[1], 1, 1).data];
    }"""
    place = [25 / picture.width, 25 / picture.height]
    before = page.evaluate(colour, place)
    page.check("#sg-together")
    after = page.evaluate(colour, place)
    assert after[1] - after[0] > before[1] - before[0] + 20, "the mask is laid over in green"
    drag(page, (0.5, 0.5), (0.6, 0.6))
    shoot(page, "marks-mask", whole=True)
    page.click("input[name=queue]")
    job = Job.objects.get(operation="repair")
    assert [row.image_id for row in job.job_inputs.order_by("position")] == [picture.pk, found.pk]
    assert len(job.params["strokes"]) == 1
