"""Gates let through what they say they let through, and nothing by mistake."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import gettext_lazy
from PIL import Image

from shopgen_django.exceptions import PermanentError
from shopgen_django.operations import gates
from tests.factories import picture


def yes_or_no(image: Image.Image, measurements: Any) -> bool:
    return False


def forgetful(image: Image.Image, measurements: Any) -> None:
    return None


def lazy(image: Image.Image, measurements: Any) -> Any:
    return gettext_lazy("Too dark.")


def broken(image: Image.Image, measurements: Any) -> str:
    raise KeyError("sharpness")


def ask(settings: Any, *names: str) -> str:
    settings.SHOPGEN = {**settings.SHOPGEN, "GATES": [f"{__name__}.{name}" for name in names]}
    return gates.ask_gates(picture(), {})


def test_a_reason_holds_back(settings: Any) -> None:
    assert ask(settings, "lazy") == "Too dark."
    assert ask(settings) == ""


@pytest.mark.parametrize("name", ["yes_or_no", "forgetful"])
def test_an_answer_that_is_no_text_closes_the_gate(settings: Any, name: str) -> None:
    with pytest.raises(PermanentError) as caught:
        ask(settings, name)
    assert caught.value.code == "gate_broken"
    assert name in str(caught.value)


def test_a_gate_that_raises_is_closed(settings: Any) -> None:
    with pytest.raises(KeyError):
        ask(settings, "broken")


def test_blank_is_what_shows_nothing() -> None:
    assert gates.not_blank(Image.new("RGB", (40, 40), "#808080"), {})
    assert gates.not_blank(picture(), {}) == ""
    assert gates.not_blank(picture(mode="L"), {}) == ""


def test_transparency_is_looked_through() -> None:
    shirt = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    shirt.paste((255, 255, 255, 255), (10, 10, 30, 30))
    assert gates.not_blank(shirt, {}) == "", "a white product on nothing"
    hidden = picture(mode="RGBA")
    hidden.putalpha(0)
    assert gates.not_blank(hidden, {}), "colours that nobody can see"
