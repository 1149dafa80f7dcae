"""Presets: ready-made words around a person's own, kept with the job."""

from __future__ import annotations

from typing import Any

import pytest

from shopgen_django.exceptions import InvalidParameters
from shopgen_django.models import Preset as Row
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.create import CreateParameters
from shopgen_django.operations.presets import BUILT_IN, merged, shelf
from shopgen_django.operations.prompts import words_of

pytestmark = pytest.mark.django_db


def words(category: str = "Dress", **params: Any) -> tuple[str, str]:
    parsed = CreateParameters.parse(params)
    assert CreateParameters.parse(parsed) == parsed
    return words_of(OperationContext(params=parsed, product_title="Red dress", category=category))


def test_own_words_stand_in_the_presets() -> None:
    prompt, negative = words(preset="marble", prompt="{title} in linen", negative="hands")
    assert prompt.startswith("product photo of Red dress in linen on a polished white marble table")
    assert negative.startswith("hands, text, watermark")
    assert words(prompt="{title}") == ("Red dress", "")


def test_the_shops_own_hides_the_built_in_and_knows_categories() -> None:
    Row.objects.create(
        name="marble", label="Our marble", label_zh="大理石", prompt="on our marble", negative="",
        by_category={"Shoes": "{words} on wet asphalt for {category}"},
    )
    assert words(preset="marble") == ("Red dress, on our marble", "")
    assert words(preset="marble", category="Shoes")[0] == "Red dress on wet asphalt for Shoes"
    assert dict(shelf.choices())["marble"] == "Our marble"
    from django.utils.translation import override

    with override("zh-hans"):
        assert dict(shelf.choices())["marble"] == "大理石"


def test_a_job_keeps_the_words_that_it_was_queued_with() -> None:
    row = Row.objects.create(name="sand", label="Sand", prompt="{words} on sand")
    parsed = CreateParameters.parse({"preset": "sand"})
    row.prompt = "{words} on gravel"
    row.save()
    again = CreateParameters.parse(parsed)
    assert words_of(OperationContext(params=again, product_title="Hat"))[0] == "Hat on sand"
    row.delete()
    assert CreateParameters.parse(parsed)["preset_words"]["prompt"] == "{words} on sand"


@pytest.mark.parametrize(
    ("params", "field"),
    [({"preset": "nonsense"}, "preset"), ({"preset": "marble", "preset_words": [1]}, "preset_words"),
     ({"preset": "marble", "preset_words": {"prompt": 3}}, "preset_words")],
)  # fmt: skip
def test_what_is_no_preset_is_refused(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        CreateParameters.parse(params)
    assert field in caught.value.fields


def test_every_built_in_one_has_a_place_for_words() -> None:
    for preset in BUILT_IN.values():
        prompt, _negative = merged(preset.words(), "a hat", "", "")
        assert "a hat" in prompt and "{" not in prompt
