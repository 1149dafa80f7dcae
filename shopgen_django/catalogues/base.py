"""The interface of a catalogue adapter, and the values that cross it.

An adapter is the only code that knows the shop's models. It reads products and pictures, puts one approved picture
into the shop and takes it back. It holds no state between calls (one object serves every thread).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Literal

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist, ValidationError
from django.core.files.base import File
from django.db import connections, models, router
from django.db.models import TextChoices
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import ProductNotFound, PublishError

Placement = Literal["main", "gallery"]
PLACEMENTS: tuple[str, ...] = ("main", "gallery")

Receipt = dict[str, Any]
"""What ``publish`` did, as JSON. Two keys are common to all adapters: ``placed`` (what was put there) and
``previous`` (what stood there before, in the same shape); the rest is the adapter's own business."""


class WithdrawOutcome(TextChoices):
    """What taking a picture back did to the shop."""

    RESTORED = "restored", gettext_lazy("taken back, the shop is as it was before")
    KEPT_NEWER = "kept_newer", gettext_lazy("somebody has since put another picture there, which was left alone")
    PREVIOUS_MISSING = (
        "previous_missing",
        gettext_lazy("taken out, but the picture that stood there before no longer exists"),
    )
    PRODUCT_GONE = "product_gone", gettext_lazy("the product no longer exists, nothing was left to take back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product as shopgen sees it. ``pk`` is the shop's primary key as text, at most 255 characters."""

    pk: str
    title: str
    category: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture that stands in the shop.

    ``key`` names it within its product (stable while the picture stays), ``position`` counts from 0 (the main
    picture), ``name`` is the file's name in the shop's storage, ``inherited`` says that a variant shows its
    parent's picture.
    """

    key: str
    alt_text: str
    position: int
    name: str = ""
    inherited: bool = False


class Catalogue(ABC):
    """Base of every adapter.

    A subclass lists its option names with their defaults in ``OPTIONS``; each is a keyword argument of the
    constructor and read as ``self.options[NAME]``. Raises ImproperlyConfigured for an unknown name.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {}

    supports_main: bool = True
    """A picture can be made the product's main one."""
    supports_gallery: bool = False
    """A picture can be added after the others."""
    supports_alt_text: bool = False
    """The shop stores a text alternative with a picture."""

    def __init__(self, alias: str = "default", **options: Any) -> None:
        self.alias = alias
        unknown = sorted(set(options) - set(self.OPTIONS))
        if unknown:
            raise ImproperlyConfigured(
                f'SHOPGEN["CATALOGUES"]["{alias}"]["OPTIONS"]: {type(self).__name__} has no option '
                f"{', '.join(unknown)}. Valid options: {', '.join(sorted(self.OPTIONS)) or 'none'}."
            )
        self.options: dict[str, Any] = {**self.OPTIONS, **options}

    @property
    @abstractmethod
    def model(self) -> type[models.Model]:
        """The shop's product model."""

    @abstractmethod
    def products(
        self,
        *,
        pks: Iterable[str] | None = None,
        category: str | None = None,
        search: str | None = None,
    ) -> Iterator[Product]:
        """Stream the products that are on offer, in a stable order.

        ``pks`` keeps those with one of these keys (a text that can't be a key matches nothing), ``category`` those of
        exactly this category, ``search`` those whose title contains the text in any letter case. Never one query per
        product, never all rows in memory.
        """

    @abstractmethod
    def get(self, pk: str) -> Product:
        """One product, on offer or not. Raises :class:`ProductNotFound`."""

    @abstractmethod
    def categories(self) -> list[str]:
        """The names of all categories that hold a product on offer, sorted, each once, without the empty one."""

    @abstractmethod
    def pictures(self, pk: str) -> list[Picture]:
        """The product's pictures, the main one first. Raises :class:`ProductNotFound`."""

    @abstractmethod
    def open_picture(self, pk: str, key: str) -> BinaryIO:
        """The bytes of one picture; the caller closes it.

        Raises :class:`ProductNotFound`, or :class:`shopgen_django.exceptions.FileMissing` when the product has no
        such picture or its file is gone.
        """

    @abstractmethod
    def publish(self, pk: str, *, content: File[bytes], filename: str, alt_text: str, placement: Placement) -> Receipt:
        """Copy ``content`` into the shop's own storage and put it on the product; the JSON-able receipt.

        Called inside a transaction. Locks the product's row where the database can, never deletes or overwrites the
        file that stood there before, and leaves no file of its own behind when it raises. Raises
        :class:`ProductNotFound` or :class:`PublishError` (a placement that this shop doesn't have, a locked page).
        """

    @abstractmethod
    def withdraw(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        """Take back what ``receipt`` describes and put back what stood there before.

        Called inside a transaction. A picture that a person has put there since stays. A product that is gone is an
        outcome, not an error.
        """

    @abstractmethod
    def discard(self, receipt: Receipt) -> None:
        """Remove the files that ``publish`` wrote; called when its transaction was rolled back afterwards."""

    # Texts. An adapter that says nothing about them takes none.

    @property
    def text_kinds(self) -> tuple[str, ...]:
        """Kinds of text that can be written into this shop: of "title", "description", "tags", "alt_text"."""
        return ()

    def read_text(self, pk: str, kind: str, key: str = "") -> str:
        """The product's text as it stands, plain; tags one a line. ``key``: the picture, for "alt_text".

        Raises :class:`ProductNotFound`, :class:`shopgen_django.exceptions.FileMissing` for a picture that is gone,
        :class:`PublishError` for a kind that this shop lacks.
        """
        raise self.no_text(kind)

    def write_text(self, pk: str, kind: str, text: str, key: str = "") -> Receipt:
        """Put the plain ``text`` there; the receipt, with ``placed`` and ``previous`` in the shop's own shape.

        Called inside a transaction, as :meth:`publish`. Raises as :meth:`read_text`, and :class:`PublishError` for a
        text that the shop can't hold.
        """
        raise self.no_text(kind)

    def restore_text(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        """Put back what stood there before, unless a person has changed the text since.

        Called inside a transaction. A product or picture that is gone is an outcome, not an error.
        """
        raise self.no_text(str(receipt.get("kind", "")))

    def no_text(self, kind: str) -> PublishError:
        """The error for a kind of text that this shop has no place for."""
        return PublishError(
            _("This shop has no place for this kind of text (%(kind)s). It takes: %(possible)s.")
            % {"kind": kind, "possible": ", ".join(self.text_kinds) or "—"}
        )

    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        """``receipt`` once ``withdrawn``, on which it was laid, has been taken back; None when that changes nothing.

        Without it, withdrawing the upper of two publications would bring the withdrawn lower one back.
        """
        if "placed" not in withdrawn or receipt.get("previous") != withdrawn["placed"]:
            return None
        return {**receipt, "previous": withdrawn.get("previous")}

    def check(self) -> list[CheckMessage]:
        """What is wrong with this catalogue's settings, with a hint each; for Django's system checks."""
        return []

    def admin_change_url(self, pk: str) -> str | None:
        """Address of the product's change page in the Django admin; None when it has none."""
        meta = self.model._meta
        try:
            return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[pk])
        except NoReverseMatch:
            return None

    @property
    def database(self) -> str:
        """Alias of the database that the products are written to."""
        return router.db_for_write(self.model)

    def lock(self, pk: str) -> None:
        """Hold the product's row until the transaction ends, where the database has row locks; else do nothing.

        The publishing service calls it before it touches its own rows, so that every transaction takes the product
        first: a deletion, which holds the product and then marks our rows, can't deadlock with it. A product that is
        gone is no error here.
        """
        if not connections[self.database].features.has_select_for_update:
            return
        try:
            self.locked(pk)
        except ProductNotFound:
            return

    def locked(self, pk: str) -> Any:
        """The product's row, locked where the database can. Raises :class:`ProductNotFound`."""
        rows = self.model._base_manager.using(self.database)
        features = connections[self.database].features
        if features.has_select_for_update_of:
            rows = rows.select_for_update(of=("self",))
        elif features.has_select_for_update:
            rows = rows.select_for_update()
        try:
            return rows.get(pk=self.to_pk(pk))
        except ObjectDoesNotExist:
            raise self.not_found(pk) from None

    def to_pk(self, pk: str) -> Any:
        """The text as a value of the model's primary key. Raises :class:`ProductNotFound` when it can't be one."""
        text = str(pk)
        field: Any = self.model._meta.pk
        if "\x00" in text or not text:
            raise self.not_found(pk)
        while field.remote_field is not None:  # the key of an inherited model points at its parent's
            field = field.target_field
        try:
            value = field.to_python(text)
        except (ValidationError, ValueError, TypeError, OverflowError):
            raise self.not_found(pk) from None
        if isinstance(value, int):
            operations = connections[self.database].ops
            low, high = operations.integer_field_range(field.get_internal_type())
            if (low is not None and value < low) or (high is not None and value > high):
                raise self.not_found(pk)
        return value

    def to_pks(self, pks: Iterable[str]) -> list[Any]:
        """Those of the texts that can be primary keys, as values."""
        values = []
        for pk in pks:
            try:
                values.append(self.to_pk(pk))
            except ProductNotFound:
                continue
        return values

    def not_found(self, pk: str) -> ProductNotFound:
        """The error to raise for a product that does not exist."""
        return ProductNotFound(
            _("The shop has no %(name)s with the key %(pk)s. It may have been deleted.")
            % {"name": self.model._meta.verbose_name, "pk": pk}
        )

    def require_placement(self, placement: str) -> None:
        """Raise :class:`PublishError` when this shop can't place a picture there."""
        possible = [name for name, can in (("main", self.supports_main), ("gallery", self.supports_gallery)) if can]
        if placement not in possible:
            raise PublishError(
                _("This shop cannot place a picture as “%(placement)s”. Possible: %(possible)s.")
                % {"placement": placement, "possible": ", ".join(possible)}
            )
