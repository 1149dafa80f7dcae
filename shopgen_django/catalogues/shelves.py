"""Where a picture stands in a shop: in a column of the product, or in a table of pictures.

Both know how to show what stands there, put a picture there and take it back; the adapters compose them. Each call of
``publish`` and ``withdraw`` gets the product's row already locked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, BinaryIO, cast

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.files.base import File
from django.db import models, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from shopgen_django.exceptions import PublishError

from . import files
from .base import Picture, Receipt, WithdrawOutcome
from .texts import cleaned


class Shelf(ABC):
    """One way of holding a product's pictures.

    ``model`` has the picture column ``image``; ``database`` is the alias that is written to.
    """

    model: type[models.Model]
    image: str
    database: str
    supports_main = True
    supports_gallery = False
    supports_alt_text = False

    @abstractmethod
    def pictures(self, product: Any) -> list[Picture]:
        """What stands on the product, the main picture first."""

    @abstractmethod
    def open(self, product: Any, key: str) -> BinaryIO:
        """The bytes of one picture. Raises FileMissing."""

    @abstractmethod
    def publish(self, product: Any, *, content: File[bytes], filename: str, alt_text: str, placement: str) -> Receipt:
        """Put the picture there; the receipt."""

    @abstractmethod
    def withdraw(self, product: Any, receipt: Receipt) -> WithdrawOutcome:
        """Take it back."""

    @abstractmethod
    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        """See :meth:`shopgen_django.catalogues.base.Catalogue.rebase`."""

    @abstractmethod
    def read_alt(self, product: Any, key: str) -> str:
        """Text alternative of one picture. Raises FileMissing."""

    @abstractmethod
    def write_alt(self, product: Any, key: str, text: str) -> str:
        """Set it, where this shop ``supports_alt_text``; what is stored now. Raises FileMissing, PublishError."""

    def discard(self, receipt: Receipt) -> None:
        """Remove the file that a rolled back ``publish`` wrote."""
        files.remove_unused(self.model, self.image, receipt["placed"]["file"], self.database)

    def forget(self, receipt: Receipt) -> None:
        """Remove the file that ``publish`` wrote once the transaction has committed, if no row refers to it."""
        name = receipt["placed"]["file"]
        transaction.on_commit(
            partial(files.remove_unused, self.model, self.image, name, self.database), using=self.database
        )


def alt_value(model: type[models.Model], field: str, text: str) -> str:
    """The text as the column takes it; "" stays possible. Raises PublishError."""
    return str(cleaned(cast(models.Field, model._meta.get_field(field)), text)) if text else ""


class FieldShelf(Shelf):
    """The picture is a column of the product: publishing replaces it, the old file stays where it is."""

    def __init__(self, model: type[models.Model], *, image: str, alt: str | None, database: str) -> None:
        self.model = model
        self.image = image
        self.alt = alt
        self.database = database
        self.supports_alt_text = alt is not None

    def _state(self, product: Any) -> dict[str, Any]:
        """What stands there now: the file's name (as stored: empty or null stay apart) and its text."""
        return {
            "file": getattr(product, self.image).name,
            "alt_text": getattr(product, self.alt) if self.alt else None,
        }

    def pictures(self, product: Any) -> list[Picture]:
        file = getattr(product, self.image)
        if not file:
            return []
        text = str(getattr(product, self.alt) or "") if self.alt else ""
        return [Picture(key=self.image, alt_text=text, position=0, name=file.name)]

    def open(self, product: Any, key: str) -> BinaryIO:
        file = getattr(product, self.image)
        if key != self.image or not file:
            raise files.missing(key)
        return files.open_file(file.storage, file.name)

    def publish(self, product: Any, *, content: File[bytes], filename: str, alt_text: str, placement: str) -> Receipt:
        previous = self._state(product)
        name = files.put(product, self.image, filename, content)
        try:
            self._set_alt(product, alt_text)
            self._save(product)
        except BaseException:
            files.file_field(self.model, self.image).storage.delete(name)
            raise
        return {"placement": placement, "placed": self._state(product), "previous": previous}

    def withdraw(self, product: Any, receipt: Receipt) -> WithdrawOutcome:
        placed, previous = receipt["placed"], receipt["previous"]
        file = getattr(product, self.image)
        self.forget(receipt)
        if file.name != placed["file"]:
            return WithdrawOutcome.KEPT_NEWER
        name = previous["file"]
        lost = bool(name) and not file.storage.exists(name)
        setattr(product, self.image, "" if lost else name)
        if self.alt and getattr(product, self.alt) == placed["alt_text"]:
            setattr(product, self.alt, "" if lost else previous["alt_text"])
        self._save(product)
        return WithdrawOutcome.PREVIOUS_MISSING if lost else WithdrawOutcome.RESTORED

    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        # Only the file tells: the text beside it may have been edited while it stood there.
        if receipt["previous"]["file"] != withdrawn["placed"]["file"]:
            return None
        return {**receipt, "previous": withdrawn["previous"]}

    def read_alt(self, product: Any, key: str) -> str:
        if key != self.image or not getattr(product, self.image):
            raise files.missing(key)
        return str(getattr(product, self.alt) or "") if self.alt else ""

    def write_alt(self, product: Any, key: str, text: str) -> str:
        self.read_alt(product, key)
        assert self.alt
        value = alt_value(self.model, self.alt, text)
        setattr(product, self.alt, value)
        product.save(using=self.database, update_fields=[self.alt])
        return value

    def _set_alt(self, product: Any, alt_text: str) -> None:
        if self.alt:
            setattr(product, self.alt, files.fit_text(self.model, self.alt, alt_text))

    def _save(self, product: Any) -> None:
        # save(), not update(): the shop's own signals (search index, cache, thumbnails) have to hear of it.
        columns = files.columns_of_file(self.model, self.image)
        product.save(using=self.database, update_fields=[*columns, *([self.alt] if self.alt else [])])


class TableShelf(Shelf):
    """Pictures are rows of a table with a foreign key to the product.

    The main picture is the row that ``primary`` marks, or else the first by ``order``. Publishing adds a row; as the
    main one it goes to the front and the others move back by one. Nothing that stood there is removed.
    """

    supports_gallery = True

    def __init__(
        self,
        model: type[models.Model],
        *,
        foreign_key: str,
        image: str,
        order: str | None,
        primary: str | None,
        alt: str | None,
        database: str,
    ) -> None:
        self.model = model
        self.foreign_key = foreign_key
        self.image = image
        self.order = order
        self.primary = primary
        self.alt = alt
        self.database = database
        self.supports_alt_text = alt is not None
        self.supports_main = bool(order or primary)

    def rows(self, product: Any) -> list[Any]:
        """The product's picture rows, the main one first; rows without a file are left out."""
        ordering = [F(self.order).asc(nulls_last=True)] if self.order else []
        flag = [f"-{self.primary}"] if self.primary else []
        # _base_manager: a row that a shop's manager hides (an unapproved photo) still takes part in the order.
        rows = self.model._base_manager.using(self.database).filter(**{self.foreign_key: product})
        return [row for row in rows.order_by(*flag, *ordering, "pk") if getattr(row, self.image)]

    def pictures(self, product: Any) -> list[Picture]:
        return [
            Picture(
                key=str(row.pk),
                alt_text=str(getattr(row, self.alt) or "") if self.alt else "",
                position=position,
                name=getattr(row, self.image).name,
            )
            for position, row in enumerate(self.rows(product))
        ]

    def open(self, product: Any, key: str) -> BinaryIO:
        for row in self.rows(product):
            if str(row.pk) == key:
                file = getattr(row, self.image)
                return files.open_file(file.storage, file.name)
        raise files.missing(key)

    def read_alt(self, product: Any, key: str) -> str:
        row = self._row(product, key)
        if row is None or not getattr(row, self.image):
            raise files.missing(key)
        return str(getattr(row, self.alt) or "") if self.alt else ""

    def write_alt(self, product: Any, key: str, text: str) -> str:
        self.read_alt(product, key)
        assert self.alt
        value = alt_value(self.model, self.alt, text)
        self._set(self._row(product, key), self.alt, value)
        return value

    def _row(self, product: Any, key: str) -> Any | None:
        rows = self.model._base_manager.using(self.database).filter(**{self.foreign_key: product})
        try:
            return rows.get(pk=self.model._meta.pk.to_python(key))
        except (ObjectDoesNotExist, ValidationError):
            return None

    def publish(self, product: Any, *, content: File[bytes], filename: str, alt_text: str, placement: str) -> Receipt:
        others = self.rows(product)
        before = [str(row.pk) for row in others]
        row = self.model(**{self.foreign_key: product})
        if self.alt:
            setattr(row, self.alt, files.fit_text(self.model, self.alt, alt_text))
        unmarked = self._make_room(row, others, front=placement == "main")
        name = files.put(row, self.image, filename, content)
        try:
            row.save(using=self.database, force_insert=True)
            key = str(row.pk)
            if placement == "main" and (str(self.rows(product)[0].pk) != key):
                raise PublishError(
                    _("The shop did not take the picture as its main one: another one still comes first.")
                )
        except BaseException:
            files.file_field(self.model, self.image).storage.delete(name)
            raise
        return {
            "placement": placement,
            "placed": {"picture": key, "file": name},
            "previous": {"main": before[0] if before else None},
            "unmarked": unmarked,
            "shifted": placement == "main" and bool(self.order) and bool(others),
        }

    def _make_room(self, row: Any, others: list[Any], *, front: bool) -> list[str]:
        """Set the new row's place among ``others``; the keys of the rows that were the marked main one."""
        if self.order:
            orders = [getattr(other, self.order) for other in others]
            known = [order for order in orders if order is not None]
            if front:
                # From the back, one by one, so that an order which must be unique never collides on the way.
                placed = [(getattr(other, self.order), other) for other in others]
                numbered = [(order, other) for order, other in placed if order is not None]
                for order, other in sorted(numbered, key=lambda pair: pair[0], reverse=True):
                    self._set(other, self.order, order + 1)
                setattr(row, self.order, min(known, default=0))
            else:
                setattr(row, self.order, max(known, default=-1) + 1)
        if not self.primary:
            return []
        marked = [other for other in others if getattr(other, self.primary)]
        setattr(row, self.primary, front)
        if not front:
            return []
        for other in marked:
            self._set(other, self.primary, False)
        return [str(other.pk) for other in marked]

    def _set(self, row: Any, field: str, value: Any) -> None:
        setattr(row, field, value)
        row.save(using=self.database, update_fields=[field])

    def withdraw(self, product: Any, receipt: Receipt) -> WithdrawOutcome:
        placed = receipt["placed"]
        self.forget(receipt)
        row = self._row(product, placed["picture"])
        if row is None or getattr(row, self.image).name != placed["file"]:
            # The row was removed, or holds another picture now: both are a person's decision.
            return WithdrawOutcome.KEPT_NEWER
        rows = self.rows(product)
        was_first = str(rows[0].pk) == placed["picture"]
        expected = self._closing(row, rows) if receipt.get("shifted") else {}
        row.delete(using=self.database)
        left = self.rows(product)
        for other in left:
            # Untouched since: a model whose delete() numbers anew (Oscar's does) has done it already.
            if self.order and str(other.pk) in expected:
                old, new = expected[str(other.pk)]
                if getattr(other, self.order) == old:
                    self._set(other, self.order, new)
        if receipt["placement"] != "main":
            return WithdrawOutcome.RESTORED
        return self._restore_main(product, receipt, was_first)

    def _closing(self, row: Any, rows: list[Any]) -> dict[str, tuple[int, int]]:
        """Key -> (order now, order once the gap is closed), in rising order; empty when the gap isn't ours alone."""
        if not self.order:
            return {}
        own = getattr(row, self.order)
        others = [(str(one.pk), getattr(one, self.order)) for one in rows if one.pk != row.pk]
        if own is None or any(order == own for _key, order in others):
            return {}
        behind = sorted(
            ((key, order) for key, order in others if order is not None and order > own),
            key=lambda pair: pair[1],
        )
        return {key: (order, order - 1) for key, order in behind}

    def _restore_main(self, product: Any, receipt: Receipt, was_first: bool) -> WithdrawOutcome:
        before = receipt["previous"]["main"]
        if not was_first:
            return WithdrawOutcome.KEPT_NEWER
        rows = {str(row.pk): row for row in self.rows(product)}
        if self.primary and not any(getattr(row, self.primary) for row in rows.values()):
            for key in receipt["unmarked"]:
                if key in rows:
                    self._set(rows[key], self.primary, True)
        if before is None or before in rows:
            return WithdrawOutcome.RESTORED
        return WithdrawOutcome.PREVIOUS_MISSING

    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        # The row that was our predecessor is gone: its predecessor takes its place.
        if receipt["previous"]["main"] != withdrawn["placed"]["picture"]:
            return None
        return {
            **receipt,
            "previous": withdrawn["previous"],
            "unmarked": withdrawn["unmarked"] if receipt["unmarked"] else receipt["unmarked"],
        }
