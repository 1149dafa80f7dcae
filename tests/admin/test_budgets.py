"""Budgets in plain words: on their page, on the page that queues work, and when it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.engines import reset_engines
from shopgen_django.models import Job, UsageEntry
from shopgen_django.operations.registry import get_operation
from tests.factories import make_user

from .conftest import as_user

pytestmark = pytest.mark.django_db
PAGE = "admin:shopgen_budgets"


@pytest.fixture
def paid(settings: Any) -> Iterator[None]:
    engine = {
        "BACKEND": "shopgen_django.engines.remote.OpenAICompatible", "PRICE": 0.5,
        "OPTIONS": {"URL": "http://127.0.0.1:9/v1", "MODEL": "tiny", "SIZE": (64, 48)},
    }
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": engine}, "BUDGETS": {
        "all": {"LABEL": "Provider <b>", "UNIT": "pictures", "LIMIT": 10, "PERIOD": "month", "OPERATIONS": ["create"]},
        "money": {"UNIT": "money", "LIMIT": "4.5", "CURRENCY": "EUR", "PERIOD": "day", "ENGINES": ["diffusion"]},
        "own": {"UNIT": "requests", "LIMIT": 3, "PERIOD": "day", "USERS": ["anna"]},
    }}  # fmt: skip
    yield
    reset_engines()


def body(count: int, button: str) -> dict[str, Any]:
    defaults = get_operation("create").Parameters.defaults()
    fields = {f"p-{name}": value for name, value in defaults.items() if value is not None}
    return {**fields, "p-prompt": "a hat", "p-count": count, "operation": "create", "shown": "create", button: "1"}


def plain(page: bytes) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.decode())))


def test_the_queue_page_says_what_is_left_and_what_is_refused(desk: Client, paid: None) -> None:
    UsageEntry.objects.create(operation="create", engine="diffusion", requests=4, pictures=4, money=2)
    address = reverse("admin:shopgen_job_queue")
    page = desk.post(address, body(3, "estimate")).content
    assert b"Provider &lt;b&gt;" in page and b"Provider <b>" not in page
    told = plain(page)
    assert "Budget “Provider <b>”: 6 left of 10 pictures a month; this takes 3." in told
    assert "Budget “money”: 2.50 left of 4.50 EUR a day; this takes 1.50." in told
    assert "That is not enough." not in told and "own" not in re.findall(r"Budget “(\w+)”", told)
    assert "That is not enough." in plain(desk.post(address, body(6, "estimate")).content)
    told = plain(desk.post(address, body(6, "queue")).content)
    assert "The budget “money” does not pay for this: 2.00 of 4.50 EUR used, 0.00 set aside" in told
    assert not Job.objects.exists()
    assert desk.post(address, body(2, "queue")).status_code == 302
    assert "Budget “money”: 1.50 left" in plain(desk.post(address, body(1, "estimate")).content)


def test_the_page_of_budgets(desk: Client, paid: None) -> None:
    UsageEntry.objects.create(operation="create", engine="diffusion", requests=10, pictures=10, money=2)
    page = desk.get(reverse(PAGE)).content
    told = plain(page)
    assert "Provider <b> Create from words 10 pictures a month 10 0 nothing" in told
    assert "all operations, engines diffusion 4.50 EUR a day 2.00 0.00 2.50" in told
    assert "all operations; for anna 3 requests a day" in told and b'value="100"' in page
    assert reverse(PAGE) in desk.get(reverse("admin:shopgen_job_changelist")).content.decode()


def test_who_sees_which(paid: None) -> None:
    bob = as_user(make_user("bob", "submit_job"))
    told = plain(bob.get(reverse(PAGE)).content)
    assert "Provider" in told and "anna" not in told
    assert "for anna" in plain(as_user(make_user("anna", "submit_job")).get(reverse(PAGE)).content)
    assert as_user(make_user("carl", "view_productimage")).get(reverse(PAGE)).status_code == 403


def test_a_shop_without_budgets(desk: Client) -> None:
    assert "nothing limits it" in plain(desk.get(reverse(PAGE)).content)
    assert reverse(PAGE) not in desk.get(reverse("admin:shopgen_job_changelist")).content.decode()
