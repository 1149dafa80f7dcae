"""The API's description of itself: valid, complete, the same as the one in docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from shopgen_django.api import openapi
from shopgen_django.api.openapi_operations import OPERATIONS
from tests.api.conftest import BASE
from tests.api.test_matrix import routes

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    made = openapi.generate()
    assert not openapi.warnings()
    return made


def test_it_is_valid(schema: dict[str, Any]) -> None:
    validate_schema(schema)


def test_the_committed_file_is_up_to_date(schema: dict[str, Any]) -> None:
    committed = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    assert committed == schema, "run: python -m tests.api.write_openapi"


def test_every_route_is_described(schema: dict[str, Any]) -> None:
    described = sum(len([key for key in item if key != "parameters"]) for item in schema["paths"].values())
    assert described == len(set(routes()) - {("schema", "get")}) == len(OPERATIONS)
    ids = [operation["operationId"] for item in schema["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert "jobs_create" in ids


def test_errors_have_the_one_shape(schema: dict[str, Any]) -> None:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            codes = [code for code in operation["responses"] if code >= "400"]
            assert {"401", "403", "429", "503"} <= set(codes), (path, method)
            for code in codes:
                content = operation["responses"][code]["content"]
                assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def test_what_a_client_generator_needs(schema: dict[str, Any]) -> None:
    create = schema["paths"]["/v1/jobs/"]["post"]
    assert next(iter(create["responses"])) == "202"
    assert "Location" in create["responses"]["202"]["headers"]
    assert "Idempotency-Key" in {parameter["name"] for parameter in create["parameters"]}
    params = schema["components"]["schemas"]["JobCreate"]["properties"]["params"]
    assert params["type"] == "object"
    assert "/operations/{name}/" in params["description"]
    upload = schema["paths"]["/v1/images/"]["post"]["requestBody"]["content"]
    assert list(upload) == ["multipart/form-data"]
    content = schema["paths"]["/v1/images/{id}/content/"]["get"]["responses"]["200"]["content"]
    assert content["image/jpeg"]["schema"] == {"type": "string", "format": "binary"}
    assert schema["components"]["schemas"]["JobState"]["enum"][0] == "queued"


def test_a_shop_that_describes_its_own_api_gets_ours_without_warnings(tmp_path: Path) -> None:
    """With the project's settings for drf-spectacular (here: none), and among the project's other routes."""
    target = tmp_path / "schema.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(target))
    assert "/shopgen/api/v1/jobs/" in yaml.safe_load(target.read_text(encoding="utf-8"))["paths"]


def test_it_is_served(staff: APIClient) -> None:
    answer = staff.get(f"{BASE}/schema/")
    assert answer.headers["Content-Type"].startswith("application/vnd.oai.openapi")
    served = yaml.safe_load(answer.content)
    assert served["servers"] == [{"url": "http://testserver/shopgen/api"}]
    assert staff.get(f"{BASE}/schema/", headers={"accept": "application/json"}).json() == served
