"""Each system check fires for the setting it is about, and is silent for the recommended ones."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.core.checks import run_checks
from django.test import override_settings

from shopgen_django import checks
from shopgen_django.jobs.queues.q2_checks import needed_retry

SHARED_CACHE = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}}
Q2 = {"BACKEND": "shopgen_django.jobs.queues.q2.Q2Queue", "OPTIONS": {"CPU": "default", "GPU": "gpu"}}


def found(
    *, shopgen: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, gpu: bool = False, **others: Any
) -> list[str]:
    """Ids of the messages with these settings laid over the recommended ones."""
    values = {**project.SHOPGEN, "QUEUE": Q2, **(shopgen or {})}
    if gpu:
        values["ACCELERATED_QUEUE"] = "gpu"
    queue = {**deepcopy(project.Q_CLUSTER), **(cluster or {})}
    others.setdefault("CACHES", SHARED_CACHE)
    with override_settings(SHOPGEN=values, Q_CLUSTER=queue, **others):
        messages = run_checks(tags=[checks.TAG])
    # The catalogues' own messages (1xx) say in the text what to set.
    assert all(message.hint for message in messages if str(message.id)[9:10] != "1"), messages
    return [str(message.id).removeprefix("shopgen.") for message in messages]


def test_recommended_settings_are_silent() -> None:
    assert found() == []
    assert found(gpu=True) == []


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"retry": 60}, "E002"),
        ({"retry": 2700}, "E002"),
        ({"queue_limit": 100}, "E002"),
        ({"bulk": 20}, "E002"),
        ({"guard_cycle": 0.3}, "E003"),
        ({"guard_cycle": 3}, "E003"),
        ({"guard_cycle": 2, "timeout": 900}, "E003"),
        ({"timeout": 900.5}, "E004"),
        ({"timeout": None}, "E004"),
        ({"queue_limit": 0}, "E005"),
        ({"orm": "elsewhere"}, "E007"),
        ({"sync": True}, "E008"),
        ({"orm": None}, "W001"),
        ({"orm": None, "redis": {"host": "x"}}, "W001"),
        ({"catch_up": True}, "W003"),
        ({"max_attempts": 0}, "W005"),
        ({"ack_failures": False}, "W005"),
    ],
)
def test_cluster_settings_that_lose_work(cluster: dict[str, Any], expected: str) -> None:
    assert expected in found(cluster=cluster)


@pytest.mark.parametrize(
    "cluster",
    [
        {"guard_cycle": 0.25}, {"guard_cycle": 1}, {"retry": 2716}, {"workers": 4, "queue_limit": 4},
        {"timeout": 60, "retry": 3600},
    ],
)
def test_cluster_settings_that_are_fine(cluster: dict[str, Any]) -> None:
    assert found(cluster=cluster) == []


def test_retry_formula() -> None:
    """Three times the longest limit with one worker and one message before it: measured to be clean."""
    assert needed_retry({"workers": 1, "queue_limit": 1, "bulk": 1, "timeout": 900}) == 902 * 3 + 10
    assert needed_retry({"workers": 2, "queue_limit": 1, "bulk": 1, "timeout": 2000}) == 2000 * 2 + 10
    assert needed_retry({"workers": 4}) == 902 * (1 + 5) + 10, "queue_limit is the square of the workers by default"


def test_gpu_cluster_is_checked_when_it_is_used() -> None:
    assert found(cluster={"ALT_CLUSTERS": {}}) == []
    assert found(cluster={"ALT_CLUSTERS": {}}, gpu=True) == ["E006"]
    assert "E005" in found(cluster={"ALT_CLUSTERS": {"gpu": {"queue_limit": 0}}}, gpu=True)


def test_queue_without_django_q2() -> None:
    with override_settings(SHOPGEN={**project.SHOPGEN, "QUEUE": Q2}):
        from django.conf import settings as lazy

        before = lazy.Q_CLUSTER
        try:
            del lazy.Q_CLUSTER
            assert [message.id for message in checks.check_queue()] == ["shopgen.E001"]
        finally:
            lazy.Q_CLUSTER = before


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}}, ["W002"]),
        ({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}, []),
        ({"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 0}, ["W006"]),
        ({"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 60}, []),
    ],
)
def test_databases(database: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.jobs.queues import q2_checks

    monkeypatch.setattr(q2_checks, "_database", lambda alias: database)
    assert found() == expected


def test_cache_of_each_process_for_itself() -> None:
    assert found(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}) == ["W004"]


@pytest.mark.parametrize(
    ("shopgen", "expected"),
    [
        ({"QEUE": {}}, ["E010"]),
        ({"JOBS": {"LEASE": 60}}, ["E010"]),
        ({"LIMITS": 5}, ["E011"]),
        ({"LIMITS": {"MAX_PIXELS": "many"}}, ["E011"]),
        ({"LIMITS": {"MAX_PIXELS": True}}, ["E011"]),
        ({"JOBS": {"MAX_ATTEMPTS": 0}}, ["E011"]),
        ({"REVIEW": {"FOUR_EYES": "yes"}}, ["E011"]),
        ({"STORAGE": 5}, ["E011"]),
        ({"ROOT": 5}, ["E011"]),
        ({"GATES": [5]}, ["E011"]),
        ({"CATALOGUES": [], "JOBS": 3}, ["E011", "E011"]),
        ({"LIMITS": {"THREADS": None}, "JOBS": {"EXPIRE_SECONDS": None}, "RETENTION": {"FAILED_JOBS_DAYS": None}}, []),
        ({"JOBS": {"LEASE_SECONDS": 20, "HEARTBEAT_SECONDS": 10}}, ["E014"]),
        ({"JOBS": {"LEASE_SECONDS": 30, "HEARTBEAT_SECONDS": 10}}, []),
        ({"JOBS": {"BACKOFF_SECONDS": 700}}, ["E015"]),
        ({"ACCELERATED_QUEUE": "cuda"}, ["E016"]),
        ({"JOBS": {"STALL_SECONDS": 1000}}, ["W007"]),
        ({"CATALOGUES": {}}, ["W008"]),
        ({"CATALOGUES": {"default": {"ADAPTER": "nowhere.Adapter"}}}, ["E013"]),
        ({"CATALOGUES": {"default": {"OPTIONS": {"MODEL": "testshop.Nothing"}}}}, ["E101"]),
        ({"GATES": ["shopgen_django.operations.gates.nothing"]}, ["E012"]),
        ({"GATES": ["tests.test_checks.a_gate"]}, []),
        ({"GATES": ["tests.test_checks.no_such_" + "gate"]}, ["E012"]),
        ({"ENGINES": {"mine": {"BACKEND": "no_such_package.Engine"}}}, ["E012"]),
        ({"ENGINES": {"mine": {}}}, ["E012"]),
        ({"QUEUE": {"BACKEND": "nowhere.Queue"}}, ["E012"]),
    ],
)
def test_shopgen_settings(shopgen: dict[str, Any], expected: list[str]) -> None:
    assert found(shopgen=shopgen) == expected


def a_gate(image: object, measurements: object) -> str:
    return ""


def test_shopgen_that_is_no_dict() -> None:
    with override_settings(SHOPGEN=["x"]):
        assert [message.id for message in checks.check_settings()] == ["shopgen.E011"]


def test_foreign_engine_is_looked_for_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_engine_for_test.py").write_text("raise SystemExit('imported')\nclass Engine: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert found(shopgen={"ENGINES": {"mine": {"BACKEND": "heavy_engine_for_test.Engine"}}}) == []
    assert "heavy_engine_for_test" not in sys.modules


def test_private_files_with_a_public_address(tmp_path: Path) -> None:
    inside = {**project.SHOPGEN, "ROOT": str(tmp_path / "media" / "shopgen")}
    assert found(shopgen=inside, MEDIA_ROOT=str(tmp_path / "media")) == ["E018"]
    assert found(shopgen=inside, STATIC_ROOT=str(tmp_path / "media"), MEDIA_ROOT="") == ["E018"]
    assert found(shopgen=inside, MEDIA_ROOT=str(tmp_path / "media2")) == []


def test_versions_with_known_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(**versions: str | None) -> None:
        def version(name: str) -> str:
            text = versions[name]
            if text is None:
                raise metadata.PackageNotFoundError(name)
            return text

        monkeypatch.setattr(checks.metadata, "version", version)

    pretend(pillow="12.2.9", torch="2.9.1+cpu")
    assert found() == ["E019", "E019"]
    pretend(pillow="12.3.0", torch=None)
    assert found() == ["E019"]
    pretend(pillow="13.0.0", torch="2.10.0")
    assert found() == []


def test_missing_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"django.contrib.admin"}
    installed = checks.apps.is_installed
    monkeypatch.setattr(checks.apps, "is_installed", lambda name: name not in without and installed(name))
    assert [message.id for message in checks.check_house()] == ["shopgen.W009"]
    without.add("django.contrib.auth")
    assert [message.id for message in checks.check_house()] == ["shopgen.E017", "shopgen.W009"]


def test_checks_load_neither_torch_nor_opencv() -> None:
    script = (
        "import sys, django; django.setup()\n"
        "from django.core.checks import run_checks\n"
        "run_checks(tags=['shopgen'])\n"
        "print(sorted({'torch', 'cv2', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "tests.integration.settings", "PATH": "/usr/bin:/bin"}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_rules_and_storages_that_contradict_are_told(settings: Any) -> None:
    assert found(shopgen={"REVIEW": {"FOUR_EYES": True, "REQUIRE_APPROVAL": False}}) == ["W010"]
    assert found(shopgen={"STORAGE": "typo"}) == ["E020"]
    storages = {**settings.STORAGES, "shopgen": {"BACKEND": "no_such_package.Storage"}}
    assert found(STORAGES=storages) == ["E020"]


def test_private_files_in_a_bucket_that_others_may_read_are_told(settings: Any) -> None:
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"bucket_name": "own", "region_name": "eu-1"}}

    def with_(default: Any = None, **options: Any) -> list[str]:
        ours = {**s3, "OPTIONS": {**s3["OPTIONS"], **options}}  # type: ignore[dict-item]
        return found(STORAGES={**settings.STORAGES, "shopgen": ours, **({"default": default} if default else {})})

    assert with_() == []
    assert with_(default_acl="private") == []
    assert with_(default_acl="public-read") == ["E018"]
    assert with_(default_acl="authenticated-read") == ["E018"], "every account of the provider"
    assert with_(default=s3) == ["W013"]
    assert with_(default=s3, location="shopgen") == ["W013"]
    assert with_(default={**s3, "OPTIONS": {**s3["OPTIONS"], "location": "media"}}, location="shopgen") == []  # type: ignore[dict-item]
    assert with_(default={**s3, "OPTIONS": {**s3["OPTIONS"], "bucket_name": "public"}}) == []  # type: ignore[dict-item]
