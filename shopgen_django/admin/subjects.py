"""What work is queued for: chosen pictures, chosen products, or nothing in particular. Says which jobs that makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.catalogues import get_catalogue
from shopgen_django.catalogues.base import Product
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ImageState, ProductImage
from shopgen_django.operations.base import Operation
from shopgen_django.operations.registry import public_operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One job to be. ``key`` is stable, so that pressing the button twice queues it once."""

    key: str
    label: str
    inputs: tuple[ProductImage, ...] = ()
    catalogue: str = ""
    object_pk: str = ""
    import_first: bool = False


@dataclass(slots=True, kw_only=True)
class Wants:
    """The jobs that an operation makes of a subject, and what stands in the way (label, reason)."""

    jobs: list[Wanted] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def to_import(self) -> int:
        """Products whose photos a worker imports first."""
        return sum(wanted.import_first for wanted in self.jobs)



class Subject(ABC):
    """What the page is about."""

    @abstractmethod
    def operations(self) -> list[Operation]:
        """Operations that fit."""

    @abstractmethod
    def hidden(self) -> list[tuple[str, str]]:
        """Form fields that carry the subject from page to page."""

    @abstractmethod
    def wants(self, operation: Operation, *, together: bool = False) -> Wants:
        """The jobs; ``together``: the pictures (of a product) in one job, where the operation takes several."""

    def may_join(self, operation: Operation) -> bool:
        """Whether people may ask for several pictures in one job."""
        return bool(operation.together) and len(self.pictures) > 1

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line for people."""

    pictures: Sequence[ProductImage] = ()
    products: Sequence[Product] = ()


def _choices() -> list[Operation]:
    """Pictures are taken in by pages of their own (upload, import)."""
    return [operation for operation in public_operations() if not operation.takes_in]


class Nothing(Subject):
    """No product and no picture: operations that need neither."""

    summary = ""

    def operations(self) -> list[Operation]:
        return [operation for operation in _choices() if operation.min_inputs == 0]

    def hidden(self) -> list[tuple[str, str]]:
        return []

    def wants(self, operation: Operation, *, together: bool = False) -> Wants:
        return Wants(jobs=[Wanted(key="", label=str(operation.label))])


class Pictures(Subject):
    """Chosen pictures: one job each, or one for all where the operation needs several."""

    def __init__(self, keys: Sequence[UUID]) -> None:
        found = ProductImage.objects.in_bulk(list(keys))
        self.pictures = [found[key] for key in keys if key in found]
        if len(self.pictures) == 2:
            # A mask is made of its photo, so it is the newer one; a list shows the newest first.
            self.pictures.sort(key=lambda image: (image.created_at, image.pk))

    def operations(self) -> list[Operation]:
        return [operation for operation in _choices() if operation.max_inputs > 0]

    def hidden(self) -> list[tuple[str, str]]:
        return [("pk", str(image.pk)) for image in self.pictures]

    @property
    def summary(self) -> str:
        number = len(self.pictures)
        return ngettext("%(n)d picture", "%(n)d pictures", number) % {"n": number}

    def wants(self, operation: Operation, *, together: bool = False) -> Wants:
        return jobs_of_pictures(operation, self.pictures, together=together)


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
        return [operation for operation in _choices() if operation.min_inputs <= 1]

    def hidden(self) -> list[tuple[str, str]]:
        return [("catalogue", self.alias), *(("product", product.pk) for product in self.products)]

    @property
    def summary(self) -> str:
        number = len(self.products)
        return ngettext("%(n)d product", "%(n)d products", number) % {"n": number}

    def may_join(self, operation: Operation) -> bool:
        # Roles of pictures (photo and mask) mean nothing for the photos of products; a series does.
        return bool(operation.together) and operation.max_inputs > 2

    def wants(self, operation: Operation, *, together: bool = False) -> Wants:
        if operation.max_inputs == 0:
            return Wants(jobs=[
                Wanted(key=product.pk, label=product.title, catalogue=self.alias, object_pk=product.pk)
                for product in self.products
            ])  # fmt: skip
        photos = self._photos()
        wants = Wants()
        for product in self.products:
            own = photos.get(product.pk, [])
            if not own:
                wants.jobs.append(Wanted(
                    key=product.pk, label=product.title, catalogue=self.alias, object_pk=product.pk, import_first=True,
                ))  # fmt: skip
            found = jobs_of_pictures(operation, own, together=together)
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


def jobs_of_pictures(operation: Operation, images: Sequence[ProductImage], *, together: bool = False) -> Wants:
    """One job per picture, or one for all when the operation needs more than one, or somebody wants it so."""
    wants = Wants()
    fit = []
    for image in images:
        if image.state == ImageState.REJECTED:
            wants.problems.append((str(image), _("A rejected picture can't be used. Send it to review first.")))
        else:
            fit.append(image)
    if operation.min_inputs > 1 or (together and operation.together):
        if fit:
            first = fit[0]
            label = str(operation.label) if operation.min_inputs > 1 else str(first)
            wants.jobs.append(Wanted(key=f"all:{first.pk}", label=label, inputs=tuple(fit)))
        return wants
    wants.jobs += [Wanted(key=str(image.pk), label=str(image), inputs=(image,)) for image in fit]
    return wants
