"""A model that one host has trained is run, activated and shown on another, through the storage that they share."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage, storages
from django.test import Client

from shopgen_django.exceptions import FileMissing, InvalidState, StorageFull, StorageUnavailable
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


def test_nowhere_at_all(elsewhere: ModelVersion, served: InMemoryStorage) -> None:
    served.delete(f"versions/{elsewhere.pk}/model.safetensors")
    assert local_folder(elsewhere) == Path(elsewhere.folder)
    with pytest.raises(InvalidState, match="gone"):
        activate_version(version=elsewhere)


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
        with pytest.raises(StorageUnavailable):
            tidy_versions()
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
