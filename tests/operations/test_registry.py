"""An app of a shop registers an operation of its own with one module."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shopgen_django.exceptions import NotFound
from shopgen_django.operations.base import Operation, OperationContext
from shopgen_django.operations.registry import all_operations, get_operation, register, unregister


def test_the_built_in_operations_are_there() -> None:
    assert {"generate", "fit"} <= {operation.name for operation in all_operations()}


def test_an_unknown_operation_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="generate"):
        get_operation("melt")


def test_two_operations_of_one_name_are_an_error() -> None:
    class First(Operation):
        name = "twice"
        label = "First"

        def run(self, context: OperationContext) -> list:  # type: ignore[type-arg]
            return []

    class Second(First):
        label = "Second"

    register(First)
    try:
        assert register(First) is First
        with pytest.raises(ValueError, match="twice"):
            register(Second)
    finally:
        unregister("twice")


def test_a_third_party_app_brings_its_own(tmp_path: Path) -> None:
    """In a process of its own: an installed app with nothing but ``shopgen_operations.py``."""
    app = tmp_path / "sepia_app"
    app.mkdir()
    (app / "__init__.py").write_text("")
    (app / "shopgen_operations.py").write_text(
        textwrap.dedent(
            """
            from django import forms
            from shopgen_django.operations.base import Operation, Output, Parameters
            from shopgen_django.operations.registry import register

            class SepiaParameters(Parameters):
                strength = forms.FloatField(min_value=0, max_value=1, initial=1.0, label="Strength")

            @register
            class Sepia(Operation):
                name = "sepia"
                label = "Sepia"
                Parameters = SepiaParameters
                min_inputs = max_inputs = 1

                def run(self, context):
                    yield Output(image=context.inputs[0].open().convert("L"), parents=(context.inputs[0].id,))
            """
        )
    )
    script = textwrap.dedent(
        """
        import os, django
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        from django.conf import settings
        settings.INSTALLED_APPS.append("sepia_app")
        django.setup()
        from shopgen_django.operations.registry import get_operation
        operation = get_operation("sepia")
        print(operation.Parameters.parse({})["strength"], operation.Parameters.json_schema()["properties"]["strength"])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        cwd=Path(__file__).resolve().parents[2], env={"PYTHONPATH": f"{tmp_path}:.", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.0 {'type': 'number', 'title': 'Strength', 'default': 1.0")
