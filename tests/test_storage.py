"""Where private files go, and that they never go elsewhere unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage.handler import InvalidStorageError

from shopgen_django.storage import PrivateFileSystemStorage, private_storage


def test_without_an_alias_of_its_own_a_private_folder_is_used(settings: Any) -> None:
    storage = private_storage()
    assert isinstance(storage, PrivateFileSystemStorage)
    assert Path(storage.location) == Path(settings.SHOPGEN["ROOT"]) / "files"


def test_an_alias_whose_backend_fails_is_told_and_not_replaced(settings: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, "shopgen": {"BACKEND": "no_such_package.Storage"}}
    with pytest.raises(InvalidStorageError, match="no_such_package"):
        private_storage()
