"""What work is queued for: chosen pictures, chosen products, or nothing in particular. Says which jobs that makes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.catalogues import get_catalogue
from shopgen_django.catalogues.base import Product
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ImageState, ProductImage
from shopgen_django.operations.base import Operation
from shopgen_django.operations.registry import all_operations
from shopgen_django.services.images import import_from_catalogue

IMPORT_SECONDS = 20.0
"""Importing stops after so long: the request has to end. What is left stays selected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One job to be. ``key`` is stable, so that pressing the button twice queues it once."""

    key: str
    label: str
    inputs: tuple[ProductImage, ...] = ()
    catalogue: str = ""
    object_pk: str = ""


@dataclass(slots=True, kw_only=True)
class Wants:
    """The jobs that an operation makes of a subject, and what stands in the way (label, reason)."""

    jobs: list[Wanted] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    to_import: int = 0
    """Products whose photos are imported first."""


class Subject(ABC):
    """What the page is about."""

    @abstractmethod
    def operations(self) -> list[Operation]:
        """Operations that fit."""

    @abstractmethod
    def hidden(self) -> list[tuple[str, str]]:
        """Form fields that carry the subject from page to page."""

    @abstractmethod
    def wants(self, operation: Operation, *, prepare: bool = False, user: Any = None) -> Wants:
        """The jobs. ``prepare`` allows to write what they need first (import photos)."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line for people."""

    pictures: Sequence[ProductImage] = ()
    products: Sequence[Product] = ()


class Nothing(Subject):
    """No product and no picture: operations that need neither."""

    summary = ""

    def operations(self) -> list[Operation]:
        return [operation for operation in all_operations() if operation.min_inputs == 0]

    def hidden(self) -> list[tuple[str, str]]:
        return []

    def wants(self, operation: Operation, *, prepare: bool = False, user: Any = None) -> Wants:
        return Wants(jobs=[Wanted(key="", label=str(operation.label))])


class Pictures(Subject):
    """Chosen pictures: one job each, or one for all where the operation needs several."""

    def __init__(self, keys: Sequence[UUID]) -> None:
        found = ProductImage.objects.in_bulk(list(keys))
        self.pictures = [found[key] for key in keys if key in found]

    def operations(self) -> list[Operation]:
        return [operation for operation in all_operations() if operation.max_inputs > 0]

    def hidden(self) -> list[tuple[str, str]]:
        return [("pk", str(image.pk)) for image in self.pictures]

    @property
    def summary(self) -> str:
        number = len(self.pictures)
        return ngettext("%(n)d picture", "%(n)d pictures", number) % {"n": number}

    def wants(self, operation: Operation, *, prepare: bool = False, user: Any = None) -> Wants:
        return jobs_of_pictures(operation, self.pictures)


class Products(Subject):
    """Chosen products: one job each, or one for each of their photos where the operation works on pictures."""

    def __init__(self, alias: str, keys: Iterable[str]) -> None:
        self.alias = alias
        self.keys = list(dict.fromkeys(keys))

    @cached_property
    def products(self) -> list[Product]:  # type: ignore[override]
        catalogue = get_catalogue(self.alias)
        found = {}
        for key in self.keys:
            try:
                found[key] = catalogue.get(key)
            except ShopgenError:
                continue  # deleted while the page was open: it is no longer listed
        return list(found.values())

    def operations(self) -> list[Operation]:
        return [operation for operation in all_operations() if operation.min_inputs <= 1]

    def hidden(self) -> list[tuple[str, str]]:
        return [("catalogue", self.alias), *(("product", product.pk) for product in self.products)]

    @property
    def summary(self) -> str:
        number = len(self.products)
        return ngettext("%(n)d product", "%(n)d products", number) % {"n": number}

    def wants(self, operation: Operation, *, prepare: bool = False, user: Any = None) -> Wants:
        if operation.max_inputs == 0:
            return Wants(jobs=[
                Wanted(key=product.pk, label=product.title, catalogue=self.alias, object_pk=product.pk)
                for product in self.products
            ])  # fmt: skip
        photos = self._photos()
        wants = Wants()
        until = time.monotonic() + IMPORT_SECONDS
        for product in self.products:
            own = photos.get(product.pk, [])
            if not own and not prepare:
                wants.to_import += 1
                continue
            if not own:
                own, problem = self._import(product, user, until)
                if problem:
                    wants.problems.append((product.title, problem))
            found = jobs_of_pictures(operation, own)
            wants.jobs += found.jobs
            wants.problems += found.problems
        return wants

    def _photos(self) -> dict[str, list[ProductImage]]:
        photos: dict[str, list[ProductImage]] = {}
        rows = ProductImage.objects.sources().exclude(state=ImageState.REJECTED).filter(
            catalogue=self.alias, object_pk__in=[product.pk for product in self.products]
        )
        for image in rows.order_by("created_at", "id"):
            photos.setdefault(image.object_pk, []).append(image)
        return photos

    def _import(self, product: Product, user: Any, until: float) -> tuple[list[ProductImage], str]:
        if time.monotonic() > until:
            return [], _("Its photos are not imported yet; press the button again.")
        try:
            found = import_from_catalogue(catalogue=self.alias, object_pk=product.pk, user=user)
        except ShopgenError as error:
            return [], str(error)
        return found, "" if found else _("The product has no picture in the shop.")


def jobs_of_pictures(operation: Operation, images: Sequence[ProductImage]) -> Wants:
    """One job per picture, or one for all when the operation needs more than one."""
    wants = Wants()
    fit = []
    for image in images:
        if image.state == ImageState.REJECTED:
            wants.problems.append((str(image), _("A rejected picture can't be used. Send it to review first.")))
        else:
            fit.append(image)
    if operation.min_inputs > 1:
        if fit:
            wants.jobs.append(Wanted(key="all", label=str(operation.label), inputs=tuple(fit)))
        return wants
    wants.jobs += [Wanted(key=str(image.pk), label=str(image), inputs=(image,)) for image in fit]
    return wants
