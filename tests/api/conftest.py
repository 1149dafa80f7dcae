"""What tests of the API share: clients of users with and without permissions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from shopgen_django.api import throttling
from shopgen_django.models import ModelVersion
from shopgen_django.services.models import register_version
from tests.factories import make_user

BASE = "/shopgen/api/v1"

EVERYTHING = (
    "submit_job", "cancel_job", "retry_job", "view_job", "add_productimage", "view_productimage",
    "review_productimage", "publish_productimage", "withdraw_productimage", "view_modelversion",
    "activate_modelversion", "view_trainingrun", "start_trainingrun",
    "view_suppliedmodel", "add_suppliedmodel", "delete_suppliedmodel", "verify_suppliedmodel",
    "view_recipe", "add_recipe", "change_recipe", "delete_recipe",
)


@pytest.fixture(autouse=True)
def _no_blocks_left_over() -> Iterator[None]:
    throttling.reads.clear()
    yield
    throttling.reads.clear()


@pytest.fixture
def client_of() -> Callable[..., APIClient]:
    """``client_of(name, *permissions, **fields)``: a client signed in as a new user."""

    def make(name: str, *permissions: str, **fields: Any) -> APIClient:
        client = APIClient()
        client.user = make_user(name, *permissions, **fields)  # type: ignore[attr-defined]
        client.force_login(client.user)  # type: ignore[attr-defined]
        return client

    return make


@pytest.fixture
def staff(db: None, client_of: Callable[..., APIClient]) -> APIClient:
    """Somebody with every permission of ours."""
    return client_of("staff", *EVERYTHING)


@pytest.fixture
def model(tmp_path: Path, db: None) -> ModelVersion:
    """A registered, active model (its weights are no weights: nothing here loads them)."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "model.json").write_text(json.dumps({"categories": ["Hat", "Shirt"]}))
    return register_version(folder=folder, name="clothes", activate=True)
