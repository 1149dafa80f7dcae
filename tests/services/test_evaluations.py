"""What was measured about models: found, kept, and compared only where it may be."""

from __future__ import annotations

from typing import Any

import pytest

from shopgen_django.models import ModelVersion
from shopgen_django.services.evaluations import (
    best_of,
    compare_versions,
    evaluation_of,
    find_version,
    record_evaluation,
)

pytestmark = pytest.mark.django_db


def version(number: int, name: str = "summer dresses") -> ModelVersion:
    return ModelVersion.objects.create(
        name=name, version=number, folder="/models/x", weights_sha256=str(number) * 64, weights_bytes=1,
        metrics={"loss_d": 1.0},
    )  # fmt: skip


def values(kid: float, extractor: str = "net@1", digest: str = "photos") -> dict[str, Any]:
    floored = {"value": kid, "floor": 0.001, "at_floor": kid, "count": 100}
    figures = dict.fromkeys(("kid", "fid", "precision", "recall", "density", "coverage"), floored)
    return {
        **figures, "kid_error": 0.01, "memory": {"ratio": 0.9}, "extractor": {"id": extractor},
        "reference": {"digest": digest, "count": 240}, "count": 500, "seed": 0,
    }  # fmt: skip


def test_a_version_is_found_by_what_people_write() -> None:
    one, two = version(1), version(2)
    assert find_version("summer dresses") == two
    assert find_version("summer dresses v1") == find_version("summer dresses:1") == one
    assert find_version(str(one.pk)) == one
    assert find_version("summer dresses v3") is None
    assert find_version("winter") is None


def test_figures_are_kept_beside_what_the_trainer_left() -> None:
    row = record_evaluation(version=version(1), values=values(0.2))
    row.refresh_from_db()
    found = evaluation_of(row)
    assert row.metrics["loss_d"] == 1.0
    assert found is not None
    assert (found["kid"], found["kid_floor"], found["memory_ratio"], found["extractor"]["id"]) == (
        0.2, 0.001, 0.9, "net@1",
    )  # fmt: skip
    assert evaluation_of(version(2)) is None


def test_unlike_figures_are_not_laid_beside_each_other() -> None:
    rows = [version(number) for number in range(1, 6)]
    for row, found in zip(rows, (values(0.3), values(0.1), values(0.01, "other@2"), values(0.02, digest="x")),
                          strict=False):  # fmt: skip
        record_evaluation(version=row, values=found)
    compared = compare_versions(list(ModelVersion.objects.order_by("version")))
    assert [item.evaluation is not None for item in compared] == [True, True, False, False, False]
    assert best_of(compared, "kid") == 0.1
    assert best_of(compared, "density") is None
    assert best_of(compared[:1], "kid") is None
