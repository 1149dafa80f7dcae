"""A merchandiser's day in a real browser: import, fit, watch the job, review by keyboard, publish, take back."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ImageState, Job, ProductImage, Review
from tests.browser.conftest import photos
from tests.testshop.models import Product

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def run_all() -> None:
    """Do the work that waits, as a worker would, and what follows from it."""
    while job := Job.objects.filter(state="queued").first():
        assert run_job(job.pk) != "skipped"


def imported(products: list[Product]) -> list[ProductImage]:
    from shopgen_django.services.images import import_from_catalogue

    return [image for product in products for image in import_from_catalogue(object_pk=product.pk)]


def fitted(products: list[Product]) -> list[ProductImage]:
    """Results of a real job that wait for review, each with its photo as parent."""
    from shopgen_django.services.submit import submit_job

    for photo in imported(products):
        job, _new = submit_job(operation="fit", inputs=[photo])
        run_job(job.pk)
        job.refresh_from_db()
        assert job.state == "succeeded", job.error_detail
    return list(ProductImage.objects.waiting())


def test_from_the_product_list_to_results(page: Any, products: list[Product], shoot: Any) -> None:
    page.goto("/admin/testshop/product/")
    page.check("#action-toggle")
    shoot(page, "product-list")
    page.select_option("select[name=action]", label="Import photos")
    page.click("button[name=index]")
    expect(page.locator("li input[name=product]:checked")).to_have_count(6)
    shoot(page, "import")
    page.click("input.default")
    expect(page.locator(".messagelist")).to_contain_text("The import of the photos of 6 products is queued.")
    expect(page.locator("[data-sg-warnings]")).to_contain_text("no worker is running")
    expect(page.locator(".sg-batch")).to_contain_text("0 of 1 job is done")
    shoot(page, "import-waits")
    run_all()
    expect(page.locator(".sg-batch")).to_contain_text("6 new photos")
    shoot(page, "import-done")
    page.goto("/admin/testshop/product/")
    page.check("#action-toggle")
    page.select_option("select[name=action]", label="Fit to channel sizes…")
    page.click("button[name=index]")
    expect(page.locator(".sg-estimate")).to_contain_text("6 jobs")
    shoot(page, "queue-fit", whole=True)
    page.click("input[name=queue]")
    expect(page.locator(".messagelist")).to_contain_text("6 jobs were queued.")
    expect(page.locator("[data-sg-warnings]")).to_contain_text("no worker is running")
    run_all()
    expect(page.locator(".sg-badge-succeeded")).to_have_count(6)
    assert ProductImage.objects.filter(state=ImageState.IN_REVIEW).count() >= 6
    shoot(page, "jobs-done")


def test_photos_from_ones_own_computer(page: Any, products: list[Product], tmp_path: Path, shoot: Any) -> None:
    files = []
    for number, (content, _label) in enumerate(photos(3)):
        path = tmp_path / f"photo {number}.jpg"
        path.write_bytes(content)
        files.append(str(path))
    page.goto("/admin/shopgen/productimage/")
    page.click("text=Upload photos")
    page.set_input_files("input[type=file]", files)
    page.fill("#id_object_pk", products[0].name)
    shoot(page, "upload")
    page.click("input.default")
    expect(page.locator(".messagelist")).to_contain_text("3 photos are uploaded.")
    expect(page.locator("[data-sg-warnings]")).to_contain_text("no worker is running")
    page.goto("/admin/shopgen/productimage/")
    expect(page.locator("[data-sg-warnings]")).to_contain_text("3 jobs are bringing in photos")
    shoot(page, "pictures-arriving")
    run_all()
    page.reload()
    expect(page.locator("#result_list tbody tr")).to_have_count(3)
    expect(page.locator("[data-sg-warnings]")).to_be_empty()
    assert set(ProductImage.objects.values_list("object_pk", flat=True)) == {str(products[0].pk)}


def test_progress_moves_by_itself(page: Any, products: list[Product], shoot: Any) -> None:
    from datetime import timedelta

    from django.utils import timezone

    now = timezone.now()
    running = Job.objects.create(
        operation="generate", params={"count": 4}, state="running", attempt=1, progress=0.1, started_at=now,
        lease_until=now + timedelta(minutes=5), product_label="Dress no. 1",
    )
    Job.objects.create(operation="fit", params={}, product_label="Hat no. 2")
    Job.objects.create(
        operation="generate", params={"count": 4}, state="failed", attempt=3, error_code="out_of_memory",
        error_detail="The worker ran out of memory. Use smaller pictures or fewer at once.", finished_at=now,
        product_label="Shoes no. 3",
    )
    page.goto("/admin/shopgen/job/")
    bar = page.locator(f'[data-sg-job="{running.pk}"]')
    assert "10 %" in bar.text_content()
    Job.objects.filter(pk=running.pk).update(progress=0.6, stage="generate")
    expect(bar).to_contain_text("60 %")
    assert bar.locator("progress").evaluate("bar => bar.value") == 60
    expect(page.locator(f'[data-sg-note="{running.pk}"]')).to_have_text("Making pictures")
    shoot(page, "jobs")
    Job.objects.filter(pk=running.pk).update(progress=1.0, state="succeeded", finished_at=now, lease_until=None)
    page.wait_for_selector(f'[data-sg-state="{running.pk}"] .sg-badge-succeeded')


def test_hidden_tab_asks_nothing(page: Any) -> None:
    from django.utils import timezone

    Job.objects.create(operation="fit", params={}, not_before=timezone.now())
    page.goto("/admin/shopgen/job/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/live/" in request.url else None)
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_timeout(4500)
    assert asked == []
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => false, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_event("response", lambda answer: "/live/" in answer.url)


def test_review_with_the_keyboard_alone(page: Any, products: list[Product], shoot: Any) -> None:
    waiting = fitted(products)
    page.goto("/admin/shopgen/review/")
    assert f"{len(waiting)} pictures are waiting for review" in page.text_content("h1")
    assert page.locator(".sg-stage img").count() == 2, "the photo beside the result"
    shoot(page, "review")
    page.keyboard.press("a")
    page.wait_for_selector(".messagelist >> text=Approved")
    waiting[0].refresh_from_db()
    assert waiting[0].state == ImageState.APPROVED
    page.keyboard.press("n")
    page.wait_for_url(re.compile(str(waiting[2].pk)))
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.id") == "sg-reason"
    page.keyboard.type("Sleeve is cut off")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist >> text=Sleeve is cut off")
    waiting[2].refresh_from_db()
    assert waiting[2].state == ImageState.REJECTED and Review.objects.filter(reason="Sleeve is cut off").count() == 1
    assert waiting[1].state == ImageState.IN_REVIEW, "the skipped one still waits"
    page.click("button:has-text('Background is not clean')")
    page.wait_for_selector(".messagelist >> text=Background is not clean")
    assert Review.objects.count() == 3


def test_before_and_after_slide_over_each_other(page: Any, products: list[Product], shoot: Any) -> None:
    from shopgen_django.services.submit import submit_job

    for photo in imported(products)[:2]:
        job, _new = submit_job(operation="denoise", params={"level": 15.0}, inputs=[photo])
        run_job(job.pk)
    waiting = list(ProductImage.objects.waiting())
    page.goto("/admin/shopgen/review/")
    expect(page.locator(".sg-stage img").first).to_be_visible()
    page.click("text=Over each other (S)")
    expect(page.locator(".sg-stage")).to_be_hidden()
    slider = page.locator(".sg-slider input[type=range]")
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-label", "Slide from before to after")
    clip = "document.querySelector('.sg-slider-after').style.clipPath"
    assert "50%" in page.evaluate(clip)
    for _press in range(10):
        page.keyboard.press("ArrowRight")
    assert "60%" in page.evaluate(clip), "arrows move the slider, not the queue"
    assert str(waiting[1].pk) not in page.url
    frame = page.locator(".sg-slider-pictures").bounding_box()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 20)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 20)
    page.mouse.up()
    assert 23 <= int(slider.input_value()) <= 27
    shoot(page, "slider")
    page.keyboard.press("n")  # the letters still work, and the next picture opens the same way
    page.wait_for_url(re.compile(str(waiting[1].pk)))
    expect(page.locator(".sg-slider")).to_be_visible()
    page.keyboard.press("s")
    expect(page.locator(".sg-stage")).to_be_visible()
    expect(page.locator(".sg-slider")).to_be_hidden()


def test_letters_typed_into_the_reason_decide_nothing(page: Any, products: list[Product]) -> None:
    fitted(products[:1])
    page.goto("/admin/shopgen/review/")
    page.keyboard.press("r")
    page.keyboard.type("a panda")
    assert page.input_value("#sg-reason") == "a panda" and not Review.objects.exists()


def test_grid_by_keyboard(page: Any, products: list[Product], shoot: Any) -> None:
    waiting = fitted(products)
    page.goto("/admin/shopgen/review/grid/")
    page.locator("input[name=pk]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("[data-sg-count]")).to_have_text("2")
    shoot(page, "review-grid")
    page.click("button:has-text('Approve the selected')")
    page.wait_for_selector(".messagelist >> text=2 pictures were approved.")
    states = list(ProductImage.objects.filter(pk__in=[image.pk for image in waiting]).values_list("state", flat=True))
    assert sorted(states) == ["approved", "approved"] + ["in_review"] * (len(waiting) - 2)


def test_enter_in_the_grids_reason_rejects(page: Any, products: list[Product]) -> None:
    waiting = fitted(products[:2])
    page.goto("/admin/shopgen/review/grid/")
    page.locator("input[name=pk]").first.check()
    page.click("summary:has-text('Reject the selected')")
    page.fill("input[name=reason]", "Sleeve is missing")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("1 picture was rejected.")
    waiting[0].refresh_from_db()
    assert waiting[0].state == ImageState.REJECTED


def test_publish_and_withdraw(page: Any, products: list[Product], shoot: Any) -> None:
    from shopgen_django.services.review import approve

    image = fitted(products[:1])[0]
    approve(image=image)
    before = products[0].image.name
    page.goto(f"/admin/shopgen/productimage/{image.pk}/change/")
    shoot(page, "picture", whole=True)
    page.click("button:has-text('Publish in the shop')")
    expect(page.locator(".sg-pair img")).to_have_count(2)
    shoot(page, "publish")
    page.click("input.default")
    expect(page.locator(".messagelist")).to_contain_text("1 picture was published.")
    address = f"/admin/testshop/product/{products[0].pk}/change/"
    expect(page.locator(".messagelist a")).to_have_attribute("href", address)
    products[0].refresh_from_db()
    assert products[0].image.name != before
    page.click("button:has-text('Withdraw from the shop')")
    page.fill("#id_note", "The colour is off")
    page.click("input.default")
    expect(page.locator(".messagelist")).to_contain_text("1 picture was taken back.")
    products[0].refresh_from_db()
    assert products[0].image.name == before
    shoot(page, "withdrawn", whole=True)


def test_start_page_and_picture_list(page: Any, products: list[Product], shoot: Any) -> None:
    fitted(products)
    page.goto("/admin/shopgen/")
    shoot(page, "start")
    page.goto("/admin/shopgen/productimage/")
    shoot(page, "pictures")
    assert page.locator("#result_list img.sg-thumb").count() >= 12
    broken = page.evaluate("[...document.images].filter(i => i.complete && i.naturalWidth === 0).map(i => i.src)")
    assert broken == []


def test_training_run_is_live(page: Any, shoot: Any, tmp_path: Any) -> None:
    import math

    from shopgen_django.models import MetricPoint, TrainingRun

    run = TrainingRun.objects.create(
        name="garments", output_dir=str(tmp_path), progress=0.4, photos=240, images_seen=40_000, device="cpu",
        latest={"loss_d": 1.31, "loss_g": 0.72, "images_per_second": 187.0, "accuracy_d": 0.61},
    )
    for step in range(40):
        MetricPoint.objects.create(run=run, images_seen=1000 * (step + 1), seconds=6.0 * (step + 1), values={
            "loss_d": 1.3 + 0.1 * math.sin(step), "loss_g": 0.7 + 0.2 * math.cos(step / 3),
            "images_per_second": 180 + step % 7, "accuracy_d": 0.6 + 0.05 * math.sin(step / 2),
        })  # fmt: skip
    page.goto(f"/admin/shopgen/trainingrun/{run.pk}/change/")
    assert page.locator("polyline").count() == 4
    shoot(page, "training", whole=True)
    TrainingRun.objects.filter(pk=run.pk).update(progress=0.8)
    page.wait_for_selector(".sg-percent:has-text('80 %')")
    TrainingRun.objects.filter(pk=run.pk).update(state="failed", error="The loss is no longer a number.")
    page.wait_for_selector(".sg-problem:has-text('no longer a number')")
    assert "train_gan --name garments" in page.text_content(".sg-command")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_dark(page: Any, browser: Any, products: list[Product], shoot: Any, scheme: str) -> None:
    """At 200 % zoom of a small window nothing sticks out sideways."""
    fitted(products[:2])
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 480, "height": 800})
    image = ProductImage.objects.waiting().first()
    assert image is not None
    for name, address in {
        "review": "/admin/shopgen/review/",
        "grid": "/admin/shopgen/review/grid/",
        "picture": f"/admin/shopgen/productimage/{image.pk}/change/",
        "queue": "/admin/shopgen/job/queue/",
    }.items():
        page.goto(address)
        wider = page.locator("#content").evaluate("content => content.scrollWidth - content.clientWidth")
        assert wider <= 1, name
        shoot(page, f"narrow-{scheme}-{name}", whole=True)
    page.set_viewport_size({"width": 1360, "height": 900})
    page.goto("/admin/shopgen/review/")
    shoot(page, f"wide-{scheme}-review")
