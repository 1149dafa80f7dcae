"""One declaration gives validation, JSON schema and messages."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from shopgen_django.exceptions import InvalidParameters
from shopgen_django.operations.generate import GenerateParameters
from shopgen_django.operations.parameters import ColourField, Parameters


class Everything(Parameters):
    width = forms.IntegerField(min_value=1, max_value=100, initial=10, label="Width")
    share = forms.FloatField(min_value=0, max_value=1, initial=0.5)
    mode = forms.ChoiceField(choices=[("crop", "Crop"), ("pad", "Pad")], initial="crop")
    sizes = forms.MultipleChoiceField(choices=[("a", "A"), ("b", "B")], required=False, initial=[])
    keep = forms.BooleanField(required=False, initial=True)
    note = forms.CharField(required=False, max_length=20)
    ground = ColourField(initial="#ffffff")
    name = forms.CharField(max_length=5)


def test_missing_values_take_the_initial_and_keep_their_types() -> None:
    assert Everything.parse({"name": "x"}) == {
        "width": 10, "share": 0.5, "mode": "crop", "sizes": [], "keep": True, "note": "", "ground": "#ffffff",
        "name": "x",
    }
    assert Everything.parse({"name": "x", "keep": False})["keep"] is False


@pytest.mark.parametrize(
    ("given_params", "field"),
    [
        ({}, "name"),
        ({"name": "toolong"}, "name"),
        ({"name": "x", "width": 0}, "width"),
        ({"name": "x", "width": 101}, "width"),
        ({"name": "x", "width": True}, "width"),
        ({"name": "x", "width": [1]}, "width"),
        ({"name": "x", "width": {"a": 1}}, "width"),
        ({"name": "x", "width": "ten"}, "width"),
        ({"name": "x", "share": "nan"}, "share"),
        ({"name": "x", "mode": "melt"}, "mode"),
        ({"name": "x", "sizes": "a"}, "sizes"),
        ({"name": "x", "sizes": ["c"]}, "sizes"),
        ({"name": "x", "ground": "white"}, "ground"),
        ({"name": "x\x00"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "x", "\ud800": 1}, "?"),
        ({"name": "x", "share": 10**400}, "share"),
        ({"name": "x", "width": -(10**400)}, "width"),
        ({"name": "x", "keep": "no"}, "keep"),
        ({"name": "x", "keep": 2}, "keep"),
        ({"name": "x", "keep": None}, "keep"),
        ({"name": "x", "colour": "#fff"}, "colour"),
    ],
)
def test_what_does_not_fit_is_told_by_field(given_params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        Everything.parse(given_params)
    assert field in caught.value.fields
    assert caught.value.fields[field]


def test_what_was_parsed_parses_to_itself() -> None:
    given_params = {
        "name": " x ", "ground": "#FFFFFF\n", "sizes": ["b", "a", "b"], "keep": "False", "share": "1", "width": 3.0,
    }
    parsed = Everything.parse(given_params)
    assert parsed == {
        "width": 3, "share": 1.0, "mode": "crop", "sizes": ["b", "a"], "keep": False, "note": "", "ground": "#ffffff",
        "name": "x",
    }
    assert Everything.parse(parsed) == parsed


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidParameters):
        Everything.parse([1])  # type: ignore[arg-type]


def test_schema_says_what_parse_accepts() -> None:
    schema = Everything.json_schema()
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["width"] == {
        "type": "integer", "title": "Width", "default": 10, "minimum": 1, "maximum": 100
    }
    assert properties["mode"]["enum"] == ["crop", "pad"]
    assert properties["sizes"]["items"]["enum"] == ["a", "b"]
    assert properties["keep"]["type"] == "boolean"
    assert properties["ground"]["pattern"].startswith("^#")


def test_labels_and_messages_follow_the_language() -> None:
    with translation.override("zh-hans"), pytest.raises(InvalidParameters) as caught:
        Everything.parse({"name": "x", "width": 0})
    assert any("\u4e00" <= letter <= "\u9fff" for letter in str(caught.value.fields["width"][0]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Everything.base_fields, "other"]), JSON))
def test_any_json_gives_parameters_or_a_clear_error(params: dict[str, Any]) -> None:
    try:
        parsed = Everything.parse(params)
    except InvalidParameters as error:
        assert error.fields
    else:
        assert set(parsed) == set(Everything.base_fields)
        assert 1 <= parsed["width"] <= 100
        assert Everything.parse(parsed) == parsed


def test_generate_takes_no_seed_for_a_new_one_each_time() -> None:
    assert GenerateParameters.parse({})["seed"] is None
    assert GenerateParameters.parse({"seed": 5})["seed"] == 5
    with pytest.raises(InvalidParameters):
        GenerateParameters.parse({"count": 65})
