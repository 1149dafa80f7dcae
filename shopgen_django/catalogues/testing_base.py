"""What the tests of a catalogue's contract share: the hooks that a shop fills in, and helpers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, default_storage
from django.db import transaction
from django.test import TestCase
from PIL import Image

from .base import Catalogue, Picture, Receipt, WithdrawOutcome


def png(colour: str = "teal", size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG of one colour, as bytes."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


class ShopRefused(Exception):
    """Raised by the contract in place of the shop's save."""


class ContractBase:
    """What a shop says about itself, and what the tests need."""

    has_categories = True
    """Set to False for a shop that has none: ``make_product`` may then ignore the category."""

    # Hooks

    def make_catalogue(self) -> Catalogue:
        """The adapter under test."""
        raise NotImplementedError

    def make_product(self, *, title: str, category: str = "", picture: bytes | None = None) -> str:
        """A product on offer, with ``picture`` as its main one if given; its key as text."""
        raise NotImplementedError

    def person_replaces(self, pk: str, content: bytes) -> None:
        """What a person of the shop does to give the product another main picture."""
        raise NotImplementedError

    def delete_product(self, pk: str) -> None:
        """What a person of the shop does to delete the product."""
        catalogue = self.make_catalogue()
        catalogue.model._base_manager.get(pk=catalogue.to_pk(pk)).delete()

    def missing_pks(self) -> list[str]:
        """Keys that no product has, some of which can't be keys at all."""
        return ["987654321", "00000000-0000-4000-8000-000000000000", "no such key", "", "\x00", "9" * 200]

    def storage(self) -> Storage:
        """The storage of the shop's pictures."""
        return default_storage

    def stored_files(self) -> dict[str, bytes]:
        """Every file of the shop's storage."""
        storage = self.storage()
        if not isinstance(storage, FileSystemStorage) and not hasattr(storage, "location"):
            raise NotImplementedError("Override stored_files() for a storage that isn't a folder.")
        found = {}
        for folder, _folders, names in os.walk(str(storage.location)):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as handle:
                    found[path] = handle.read()
        return found

    # Helpers

    def _publish(self, pk: str, content: bytes, *, alt: str = "A picture", placement: Any = "main") -> Receipt:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            receipt = catalogue.publish(
                pk, content=ContentFile(content), filename="made.png", alt_text=alt, placement=placement
            )
        stored = json.loads(json.dumps(receipt))
        assert isinstance(stored, dict), "publish() has to return a dict that JSON can hold"
        assert stored == receipt, f"the receipt changes when it is stored as JSON: {receipt!r}"
        return stored

    def _withdraw(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            outcome = catalogue.withdraw(pk, receipt)
        assert isinstance(outcome, WithdrawOutcome), f"withdraw() has to return a WithdrawOutcome, not {outcome!r}"
        return outcome

    @contextlib.contextmanager
    def _committed(self, catalogue: Catalogue) -> Iterator[None]:
        """A transaction whose on_commit functions run, although the test itself is rolled back."""
        with (
            TestCase.captureOnCommitCallbacks(using=catalogue.database, execute=True),
            transaction.atomic(using=catalogue.database),
        ):
            yield

    def _pictures(self, pk: str) -> list[Picture]:
        return self.make_catalogue().pictures(pk)

    def _bytes(self, pk: str, key: str) -> bytes:
        with contextlib.closing(self.make_catalogue().open_picture(pk, key)) as handle:
            return handle.read()

    def _contents(self, pk: str) -> list[bytes]:
        return [self._bytes(pk, picture.key) for picture in self._pictures(pk)]

    def _titles(self, **filters: Any) -> list[str]:
        return [product.title for product in self.make_catalogue().products(**filters)]

    def _raises(self, expected: type[Exception], what: str, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except expected:
            return
        except Exception as error:
            raise AssertionError(f"{what} has to raise {expected.__name__}, not {error!r}") from error
        if hasattr(result, "close"):
            result.close()
        raise AssertionError(f"{what} has to raise {expected.__name__}")
