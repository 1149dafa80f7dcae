"""A merchandiser makes a recipe in a real browser, with and without scripts, tries it and sees its result."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage, Recipe
from tests.testshop.models import Product

expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_from_no_recipe_to_a_result(page: Any, products: list[Product], shoot: Any) -> None:
    from shopgen_django.services.images import import_from_catalogue

    for product in products:
        import_from_catalogue(object_pk=product.pk)
    page.goto("/admin/shopgen/recipe/")
    shoot(page, "recipes")
    page.click("text=Add recipe")
    shoot(page, "recipe-new")
    for label in ("Fit to channel sizes", "Correct light and colour", "New background"):
        page.select_option("#sg-adding", label=label)
        page.click("text=Add this step")
    expect(page.locator(".sg-step")).to_have_count(3)
    shoot(page, "recipe-steps")
    page.click("[aria-label='Move step 1 down']")
    page.click("[aria-label='Move step 2 down']")
    expect(page.locator(".sg-step h2")).to_have_text([
        "1. Correct light and colour", "2. New background", "3. Fit to channel sizes",
    ])
    page.fill("#id_label", "Small and white")
    page.fill("#id_name", "small-white")
    page.fill("[name$=-margin] >> nth=0", "9")
    page.click("text=Save and try on a picture")
    expect(page.locator(".sg-step .errorlist").first).to_be_visible()
    expect(page.locator(".sg-touched h2")).to_be_focused()
    shoot(page, "recipe-problem")
    page.fill("[name$=-margin] >> nth=0", "0.1")
    page.click("text=Save and try on a picture")
    shoot(page, "recipe-try")
    assert [step["operation"] for step in Recipe.objects.get().steps] == ["correct", "background", "fit"]
    page.click("input.default")
    expect(page.locator("#sg-operation")).to_have_value("recipe:small-white")
    shoot(page, "recipe-queue")
    page.click("input[name=queue]")
    job = Job.objects.get(operation="recipe")
    assert run_job(job.pk) != "skipped"
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    last = ProductImage.objects.filter(job=job).latest("index")
    page.goto(f"/admin/shopgen/productimage/{last.pk}/change/")
    shoot(page, "recipe-result")
    page.goto("/admin/shopgen/recipe/")
    shoot(page, "recipes-one")
    # Enter in a field presses no button that changes anything.
    page.click("text=Small and white")
    page.press("#id_label", "Enter")
    expect(page.locator(".sg-step")).to_have_count(3)
    assert Recipe.objects.get().version == 1
