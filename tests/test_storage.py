"""Where private files go, and that they never go elsewhere unnoticed."""

from __future__ import annotations

import errno
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage
from django.core.files.storage.handler import InvalidStorageError
from django.utils import timezone

from shopgen_django.catalogues.files import open_file, put
from shopgen_django.exceptions import PublishError, StorageUnavailable, TransientError
from shopgen_django.storage import PrivateFileSystemStorage, ServedStorage, private_storage
from tests.testshop.models import Product


def test_without_an_alias_of_its_own_a_private_folder_is_used(settings: Any) -> None:
    storage = private_storage()
    assert isinstance(storage, PrivateFileSystemStorage)
    assert Path(storage.location) == Path(settings.SHOPGEN["ROOT"]) / "files"


def test_an_alias_whose_backend_fails_is_told_and_not_replaced(settings: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, "shopgen": {"BACKEND": "no_such_package.Storage"}}
    with pytest.raises(InvalidStorageError, match="no_such_package"):
        private_storage()


class Faulty(InMemoryStorage):
    """A storage behind a library whose errors nobody here knows."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    def __getattribute__(self, name: str) -> Any:
        error = object.__getattribute__(self, "__dict__").get("error")
        if error is not None and name in {"open", "save", "delete", "exists", "listdir", "size", "get_modified_time"}:
            raise error
        return super().__getattribute__(name)


class ClientError(Exception):
    """As botocore raises it."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code}) when calling the HeadObject operation")
        self.response = {"Error": {"Code": code}}


CALLS = {
    "open": lambda storage: storage.open("a/b"),
    "save": lambda storage: storage.save("a/b", ContentFile(b"x")),
    "delete": lambda storage: storage.delete("a/b"),
    "exists": lambda storage: storage.exists("a/b"),
    "listdir": lambda storage: storage.listdir("a"),
    "size": lambda storage: storage.size("a/b"),
    "get_modified_time": lambda storage: storage.get_modified_time("a/b"),
}


@pytest.mark.parametrize("call", CALLS)
def test_faults_of_a_served_storage_are_told_in_our_words(call: str) -> None:
    for fault in (ClientError("503"), ConnectionResetError(104, "reset"), TimeoutError("slow"), RuntimeError("odd")):
        with pytest.raises(StorageUnavailable, match="could not be used") as caught:
            CALLS[call](ServedStorage(Faulty(fault)))
        assert isinstance(caught.value, TransientError) and isinstance(caught.value, OSError)
        assert caught.value.__cause__ is fault
    for fault in (ClientError("404"), ClientError("NoSuchKey"), FileNotFoundError("a/b")):
        with pytest.raises(FileNotFoundError):
            CALLS[call](ServedStorage(Faulty(fault)))
    with pytest.raises(OSError) as full:
        CALLS[call](ServedStorage(Faulty(OSError(errno.ENOSPC, "No space left on device"))))
    assert full.value.errno == errno.ENOSPC and not isinstance(full.value, StorageUnavailable)


def test_a_served_storage_keeps_files_and_gives_no_address() -> None:
    storage = ServedStorage(InMemoryStorage())
    assert storage.save("a/b.txt", ContentFile(b"content")) == "a/b.txt"
    with storage.open("a/b.txt") as handle:
        assert handle.read() == b"content"
    assert storage.listdir("a") == ([], ["b.txt"]) and storage.size("a/b.txt") == 7
    assert timezone.now() - storage.get_modified_time("a/b.txt") < timedelta(minutes=1)
    with pytest.raises(NotImplementedError):
        storage.url("a/b.txt")
    with pytest.raises(ValueError, match="save"):
        storage.open("a/b.txt", "wb")
    storage.delete("a/b.txt")
    assert not storage.exists("a/b.txt")


def test_a_shop_whose_own_storage_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo that can't be read now is read at the next attempt; nothing is half published."""
    field: Any = Product._meta.get_field("image")
    monkeypatch.setattr(field, "storage", Faulty(ClientError("SlowDown")))
    with pytest.raises(StorageUnavailable, match="SlowDown"):
        open_file(field.storage, "products/a.jpg")
    with pytest.raises(PublishError, match=r"SlowDown.*Nothing was changed"):
        put(Product(name="hat"), "image", "a.png", File(io.BytesIO(b"x")))
