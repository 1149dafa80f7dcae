"""The final prompt in a real browser: shown, its unread end struck through, asked about before it is lost."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.test.utils import override_settings

from shopgen_django.models import Job
from tests.diffusion.conftest import sd, use
from tests.testshop.models import Product

__all__ = ["sd", "use"]
expect: Any = import_module("playwright.sync_api").expect if find_spec("playwright") else None

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_prompt_is_seen_before_it_is_queued(
    page: Any, products: list[Product], sd: Path, use: Any, shoot: Any
) -> None:
    use(MODEL=str(sd))
    query = "&".join(f"product={product.pk}" for product in products)
    page.goto(f"/admin/shopgen/job/queue/?operation=create&catalogue=default&{query}")
    words = page.locator("#sg-words")
    expect(words.locator(".sg-prompt").first).to_contain_text(products[0].name)
    page.fill("[name=p-prompt]", "{title} on linen, soft daylight")
    page.select_option("[name=p-preset]", "marble")
    page.click("text=Show the prompt")
    assert page.url.endswith("#sg-words")
    expect(words.locator(".sg-prompt").first).to_contain_text("on a polished white marble table")
    expect(words.locator("del").first).to_be_visible()
    expect(page.locator("[name=queue]")).to_have_value("Queue it as it is")
    shoot(page, "prompt-cut", whole=True)

    page.select_option("[name=p-preset]", "")
    page.fill("[name=p-prompt]", "{title} on linen")
    page.fill("[name=p-negative]", "text, watermark, " * 12)
    page.click("[name=queue]")
    expect(page.locator("[role=alert]")).to_contain_text("Nothing was queued yet.")
    assert not Job.objects.exists()
    page.fill("[name=p-negative]", "text, watermark")
    page.click("[name=queue]")
    expect(page.locator(".messagelist")).to_be_visible()
    assert Job.objects.count() == len(products)


def test_in_simplified_chinese(page: Any, products: list[Product], sd: Path, use: Any, shoot: Any) -> None:
    use(MODEL=str(sd))
    with override_settings(LANGUAGE_CODE="zh-hans"):
        page.context.set_extra_http_headers({"Accept-Language": "zh-hans"})
        page.goto(f"/admin/shopgen/job/queue/?operation=create&catalogue=default&product={products[0].pk}")
        page.fill("[name=p-prompt]", "{title}，白色大理石桌面，柔和的自然光，真实商品摄影，浅景深，画面干净")
        page.click("[name=words]")
        expect(page.locator("#sg-words del")).to_be_visible()
        shoot(page, "prompt-cut-zh", whole=True)
