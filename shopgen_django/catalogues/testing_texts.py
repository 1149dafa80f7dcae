"""The part of a catalogue's contract that is about texts; an adapter that takes none has nothing to prove."""

from __future__ import annotations

import json
from functools import partial

from shopgen_django.exceptions import FileMissing, ProductNotFound, PublishError

from .base import Receipt, WithdrawOutcome
from .testing_base import ContractBase, png


class TextContract(ContractBase):
    """Texts are written, read and taken back."""

    def _write(self, pk: str, kind: str, text: str) -> Receipt:
        catalogue = self.make_catalogue()
        key = self._pictures(pk)[0].key if kind == "alt_text" else ""
        with self._committed(catalogue):
            receipt = catalogue.write_text(pk, kind, text, key)
        assert json.loads(json.dumps(receipt)) == receipt, f"the receipt changes when it is stored: {receipt!r}"
        return receipt

    def _restore(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        catalogue = self.make_catalogue()
        with self._committed(catalogue):
            return catalogue.restore_text(pk, receipt)

    def _text(self, pk: str, kind: str) -> str:
        key = self._pictures(pk)[0].key if kind == "alt_text" else ""
        return self.make_catalogue().read_text(pk, kind, key)

    def _texts(self) -> list[str]:
        return [kind for kind in self.make_catalogue().text_kinds if kind != "tags"]

    def test_texts_can_be_written_read_and_taken_back(self) -> None:
        for kind in self._texts():
            pk = self.make_product(title="Dress", picture=png("navy"))
            before = self._text(pk, kind)
            first = self._write(pk, kind, "Tea & <b>cake</b> – 金色连衣裙")
            assert self._text(pk, kind) == "Tea & <b>cake</b> – 金色连衣裙", "a plain text has to stay one"
            second = self._write(pk, kind, "Another text")
            assert self._restore(pk, second) == WithdrawOutcome.RESTORED
            assert self._text(pk, kind) == "Tea & <b>cake</b> – 金色连衣裙"
            assert self._restore(pk, first) == WithdrawOutcome.RESTORED
            assert self._text(pk, kind) == before, f"{kind} is not as it was"

    def test_a_newer_text_of_a_person_is_left_alone(self) -> None:
        for kind in self._texts():
            pk = self.make_product(title="Dress", picture=png("navy"))
            receipt = self._write(pk, kind, "Ours")
            self._write(pk, kind, "A person’s")
            assert self._restore(pk, receipt) == WithdrawOutcome.KEPT_NEWER
            assert self._text(pk, kind) == "A person’s"

    def test_texts_need_a_product_and_a_place(self) -> None:
        pk = self.make_product(title="Dress", picture=png("navy"))
        catalogue = self.make_catalogue()
        self._raises(PublishError, "an unknown kind", lambda: catalogue.write_text(pk, "poem", "Roses"))
        self._raises(PublishError, "an unknown kind", lambda: catalogue.read_text(pk, "poem"))
        for kind in self._texts():
            receipt = self._write(pk, kind, "Ours")
            for missing in self.missing_pks():
                self._raises(ProductNotFound, "write_text()", partial(catalogue.write_text, missing, kind, "Ours"))
            if kind == "alt_text":
                self._raises(FileMissing, "an unknown key", partial(catalogue.write_text, pk, kind, "x", "no-key"))
            other = self.make_product(title="Other")
            self.delete_product(other)
            assert self._restore(other, receipt) == WithdrawOutcome.PRODUCT_GONE

    def test_a_title_that_does_not_fit_is_refused_and_nothing_changes(self) -> None:
        if "title" not in self._texts():
            return
        pk = self.make_product(title="Dress")
        self._raises(PublishError, "a title of 5,000 signs", lambda: self._write(pk, "title", "x" * 5000))
        assert self.make_catalogue().get(pk).title == "Dress"
