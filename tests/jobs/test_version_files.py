"""A model that one host has trained is run, activated and shown on another, through the storage that they share."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, storages
from django.test import Client

from shopgen_django.exceptions import FileMissing, StorageFull, StorageUnavailable
from shopgen_django.jobs import version_files
from shopgen_django.jobs.version_files import local_folder, share, tidy_versions
from shopgen_django.models import ModelVersion, TrainingRun
from shopgen_django.services.models import activate_version, register_version
from shopgen_django.services.training import record_sample
from shopgen_django.storage import ServedStorage, private_storage
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def served(settings: Any) -> InMemoryStorage:
    """The storage of a shop on several hosts, as far as one process can tell."""
    settings.STORAGES = {
        **settings.STORAGES, "shopgen": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    storage = storages["shopgen"]
    assert isinstance(private_storage(), ServedStorage) and isinstance(storage, InMemoryStorage)
    return storage


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    (folder / "samples").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "model.json").write_text(json.dumps({"categories": ["Hat"]}))
    (folder / "samples" / "000000100.png").write_bytes(b"older")
    (folder / "samples" / "000000200.png").write_bytes(b"newest")
    (folder / "report.html").write_text("<p>report</p>")
    return folder


@pytest.fixture
def elsewhere(served: InMemoryStorage, trained: Path, django_capture_on_commit_callbacks: Any) -> ModelVersion:
    """A version whose folder lies on another host."""
    with django_capture_on_commit_callbacks(execute=True):
        version = register_version(folder=trained, name="clothes", activate=True)
    shutil.rmtree(trained)
    return version


def test_fetched_once_then_read_here(elsewhere: ModelVersion, served: InMemoryStorage, settings: Any) -> None:
    folder = local_folder(elsewhere)
    assert folder == Path(settings.SHOPGEN["ROOT"]) / "versions" / str(elsewhere.pk)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((folder / "model.json").read_text()) == {"categories": ["Hat"]}
    served.delete(f"versions/{elsewhere.pk}/model.json")
    assert local_folder(elsewhere) == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing half fetched is left"
    assert activate_version(version=elsewhere).is_active


def test_another_run_under_the_same_path_is_not_taken_for_it(elsewhere: ModelVersion, trained: Path) -> None:
    trained.mkdir()
    (trained / "model.safetensors").write_bytes(b"WEIGHTS")
    assert local_folder(elsewhere) != trained
    assert (local_folder(elsewhere) / "model.safetensors").read_bytes() == b"weights"


def test_a_broken_copy_is_fetched_anew(elsewhere: ModelVersion) -> None:
    folder = local_folder(elsewhere)
    (folder / "model.safetensors").write_bytes(b"wei")
    assert (local_folder(elsewhere) / "model.safetensors").read_bytes() == b"weights"


def test_changed_in_the_storage_is_refused(elsewhere: ModelVersion, served: InMemoryStorage, settings: Any) -> None:
    with served.open(f"versions/{elsewhere.pk}/model.safetensors", "wb") as handle:
        handle.write(b"planted")
    with pytest.raises(FileMissing, match="differ"):
        local_folder(elsewhere)
    assert list((Path(settings.SHOPGEN["ROOT"]) / "versions").iterdir()) == []


@pytest.mark.parametrize("left", [None, b"weig"])
def test_not_in_the_storage_yet_or_not_whole(
    elsewhere: ModelVersion, served: InMemoryStorage, trained: Path, left: bytes | None
) -> None:
    """A job tries again; the host that has the files puts them there, also over a part of them."""
    name = f"versions/{elsewhere.pk}/model.safetensors"
    served.delete(name)
    if left is not None:
        served.save(name, ContentFile(left))
    for ask in (lambda: local_folder(elsewhere), lambda: activate_version(version=elsewhere)):
        with pytest.raises(StorageUnavailable, match="not in the storage yet"):
            ask()
    trained.mkdir()
    (trained / "model.safetensors").write_bytes(b"weights")
    (trained / "model.json").write_text("{}")
    assert tidy_versions() == 1
    shutil.rmtree(trained)
    assert (local_folder(elsewhere) / "model.safetensors").read_bytes() == b"weights"


def test_one_that_cannot_be_shared_keeps_no_other_from_it(
    served: InMemoryStorage, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    (other / "model.safetensors").write_bytes(b"other weights")
    first, second = (register_version(folder=folder, name=folder.name) for folder in (trained, other))
    bad = min(first, second, key=lambda version: version.pk)
    put = version_files._put

    def refused(storage: Any, key: str, path: Path) -> None:
        if str(bad.pk) in key:
            raise PermissionError(13, "Permission denied")
        put(storage, key, path)

    monkeypatch.setattr(version_files, "_put", refused)
    assert tidy_versions() == 1


def test_what_a_killed_fetch_left_is_removed(elsewhere: ModelVersion, settings: Any) -> None:
    root = Path(settings.SHOPGEN["ROOT"]) / "versions"
    for name, age in ((".old.tmp", 100_000), (".new.tmp", 0)):
        (root / name).mkdir(parents=True)
        os.utime(root / name, (time.time() - age, time.time() - age))
    tidy_versions()
    assert [path.name for path in root.iterdir()] == [".new.tmp"]


def test_no_place_for_the_copy_is_told(elsewhere: ModelVersion, settings: Any) -> None:
    root = Path(settings.SHOPGEN["ROOT"])
    root.mkdir(parents=True, exist_ok=True)
    (root / "versions").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="can't be kept in"):
        local_folder(elsewhere)


def test_no_room_for_the_copy(elsewhere: ModelVersion, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_files.shutil, "copyfileobj", full)
    with pytest.raises(StorageFull, match="Make room"):
        local_folder(elsewhere)
    assert list((Path(settings.SHOPGEN["ROOT"]) / "versions").iterdir()) == []


def test_two_processes_fetch_at_once(elsewhere: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one finds the other's copy and takes that."""
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    folder = local_folder(elsewhere)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_storage_that_is_away_costs_no_version(
    served: InMemoryStorage, trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    def away(name: str) -> bool:
        raise ConnectionResetError(104, "reset by peer")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(served, "exists", away)
        with django_capture_on_commit_callbacks(execute=True):
            version = register_version(folder=trained, name="clothes")
        assert "tries again" in caplog.text
        assert tidy_versions() == 0 and "left for the next time" in caplog.text
    assert tidy_versions() == 1 and tidy_versions() == 0
    assert sorted(served.listdir(f"versions/{version.pk}")[1]) == [
        "model.json", "model.safetensors", "report.html", "samples.png",
    ]  # fmt: skip


def test_what_is_gone_is_removed_and_what_is_not_ours_stays(
    elsewhere: ModelVersion, served: InMemoryStorage, settings: Any
) -> None:
    folder = local_folder(elsewhere)
    with served.open("versions/notes/readme.txt", "wb") as handle:
        handle.write(b"the shop's own")
    elsewhere.delete()
    assert tidy_versions() == 0
    assert served.listdir(f"versions/{folder.name}")[1], "orphans stay for a while, as other files do"
    settings.SHOPGEN = {**settings.SHOPGEN, "RETENTION": {"ORPHAN_FILES_HOURS": 0}}
    assert tidy_versions() == 0
    assert served.listdir("versions/notes")[1] == ["readme.txt"]
    assert not any(files for _folder, files in [served.listdir(f"versions/{folder.name}")])
    assert not folder.exists()


def test_pages_on_another_host_show_samples_and_report(elsewhere: ModelVersion, client: Client) -> None:
    client.force_login(make_user("ml", "view_modelversion", is_staff=True))
    page = client.get(f"/admin/shopgen/modelversion/{elsewhere.pk}/change/").content.decode()
    assert f"{elsewhere.pk}/samples/" in page and f"{elsewhere.pk}/report/" in page
    assert client.get(f"/admin/shopgen/modelversion/{elsewhere.pk}/samples/").content == b"newest"
    report = client.get(f"/admin/shopgen/modelversion/{elsewhere.pk}/report/")
    assert report.content == b"<p>report</p>" and "sandbox" in report["Content-Security-Policy"]


def test_samples_of_a_run_that_trains_on_another_host(served: InMemoryStorage, tmp_path: Path, client: Client) -> None:
    run = TrainingRun.objects.create(name="hats", output_dir=str(tmp_path / "run"))
    sheet = tmp_path / "run" / "samples" / "000000100.png"
    sheet.parent.mkdir(parents=True)
    sheet.write_bytes(b"sheet")
    record_sample(run=run, path=sheet)
    shutil.rmtree(tmp_path / "run")
    client.force_login(make_user("ml", "view_trainingrun", is_staff=True))
    assert "000000100.png" in client.get(f"/admin/shopgen/trainingrun/{run.pk}/change/").content.decode()
    assert client.get(f"/admin/shopgen/trainingrun/{run.pk}/samples/").content == b"sheet"


def test_hosts_that_share_a_folder_copy_nothing(trained: Path, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        version = register_version(folder=trained, name="clothes")
    assert share(version) is False and tidy_versions() == 0
    assert local_folder(version) == trained
