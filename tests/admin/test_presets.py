"""Presets written in the admin, and chosen where work is queued."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shopgen_django.models import Preset
from tests.factories import make_user

from .conftest import as_user

pytestmark = pytest.mark.django_db
ADD = "admin:shopgen_preset_add"


def filled_in(**values: Any) -> dict[str, Any]:
    return {"label": "Asphalt", "name": "asphalt", "label_zh": "", "prompt": "{words} on asphalt", "negative": "people",
            "by_category": "Shoes: {words}, wet asphalt: neon", **values}  # fmt: skip


def test_written_shown_and_changed(desk: Client) -> None:
    shown = desk.get(reverse("admin:shopgen_preset_changelist")).content.decode()
    assert "Built-in presets" in shown and "product photo of linen shirt" in shown
    copied = desk.get(reverse(ADD) + "?copy=marble").content.decode()
    assert 'value="marble"' in copied and "polished white marble" in copied
    assert desk.post(reverse(ADD), filled_in()).status_code == 302
    row = Preset.objects.get()
    assert row.by_category == {"Shoes": "{words}, wet asphalt: neon"} and row.created_by is not None
    page = reverse("admin:shopgen_preset_change", args=[row.pk])
    assert "Shoes: {words}, wet asphalt: neon" in desk.get(page).content.decode()
    shown = desk.get(reverse("admin:shopgen_preset_changelist")).content.decode()
    assert "linen shirt on asphalt" in shown
    assert '<option value="asphalt">Asphalt</option>' in desk.get(
        reverse("admin:shopgen_job_queue") + "?operation=create"
    ).content.decode()


@pytest.mark.parametrize(
    ("values", "words"),
    [({"prompt": "{price}"}, "Unknown placeholders"), ({"by_category": "Shoes"}, "a colon and its words"),
     ({"negative": "{words}"}, "Unknown placeholders"), ({"name": "a b"}, "valid “slug”")],
)  # fmt: skip
def test_what_is_wrong_is_said(desk: Client, values: dict[str, Any], words: str) -> None:
    assert words in desk.post(reverse(ADD), filled_in(**values)).content.decode()
    assert not Preset.objects.exists()


def test_those_who_may_not_write(db: None) -> None:
    client = as_user(make_user("maker", "submit_job", is_staff=True))
    assert client.get(reverse(ADD)).status_code == 403
