"""An approved picture goes into the shop, once, and can be taken back.

Every change of state is one conditional UPDATE whose row count decides a race, inside one transaction with the shop's
own change. The product's row is locked before ours, the same order in which a deletion of the product takes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import IntegrityError, router, transaction
from django.db.models.functions import Now
from django.utils.text import slugify
from django.utils.translation import gettext as _

from shopgen_django.catalogues import Catalogue, get_catalogue
from shopgen_django.catalogues.base import PLACEMENTS, Placement, Receipt
from shopgen_django.exceptions import (
    InvalidParameters,
    InvalidState,
    NotAllowed,
    NotFound,
    ProductNotFound,
    PublishError,
    ShopgenError,
)
from shopgen_django.models import ImageState, ProductImage, Publication
from shopgen_django.signals import image_published, image_withdrawn
from shopgen_django.storage import EXTENSIONS, read_image

from .rows import reload_image, shows_person

logger = logging.getLogger(__name__)


def publish_image(*, image: ProductImage, user: Any, placement: str = "main") -> Publication:
    """Copy an approved picture into the shop and put it on its product.

    ``placement`` is "main" or "gallery". ``user`` None stands for the system itself. The file is read again and its
    SHA-256 compared first, so a lost or altered file is found before the shop is touched. When the shop's own save
    fails, the picture stays approved and no file of ours stays behind.

    Raises NotAllowed, InvalidParameters, InvalidState (not approved, or somebody else was faster), ProductNotFound (the
    product was deleted), NotFound (the picture was), FileMissing, StorageFull, PublishError (shows a person, has no
    product, or the shop refused).
    """
    _need(user, "publish_productimage", _("You may not publish pictures."))
    if placement not in PLACEMENTS:
        text = _("Choose one of: %(names)s.") % {"names": ", ".join(PLACEMENTS)}
        raise InvalidParameters(text, fields={"placement": [text]})
    reload_image(image)
    _refuse_unpublishable(image)
    catalogue = catalogue_of(image.catalogue)
    content = read_image(image)
    receipt: Receipt | None = None
    try:
        with transactions(catalogue), shop_errors(image):
            catalogue.lock(image.object_pk)
            _to_published(image)
            receipt = catalogue.publish(
                image.object_pk,
                content=ContentFile(content),
                filename=_filename(image),
                alt_text=image.alt_text or image.product_label,
                placement=cast(Placement, placement),
            )
            publication = _record(image, receipt, placement, user)
            _announce(image_published, image=image, publication=publication, user=user)
    except BaseException:
        if receipt is not None:
            _discard(catalogue, receipt)
        with suppress(NotFound):
            reload_image(image)
        raise
    reload_image(image)
    return publication


def withdraw_image(*, image: ProductImage, user: Any, note: str = "") -> Publication:
    """Take a published picture back; what stood there before comes back.

    The returned row's ``withdraw_outcome`` says what happened to the shop: a newer picture that a person has put there
    is left alone, and a product that is gone needs nothing.

    Raises NotAllowed, InvalidState (not published, or somebody else was faster), PublishError (the shop refused).
    """
    _need(user, "withdraw_productimage", _("You may not take pictures back."))
    publication = Publication.objects.filter(image=image, withdrawn_at__isnull=True).first()
    if publication is None:
        reload_image(image)
        raise _not_published(image)
    catalogue = catalogue_of(publication.catalogue)
    try:
        with transactions(catalogue), shop_errors(image):
            catalogue.lock(publication.object_pk)
            changed = Publication.objects.filter(pk=publication.pk, withdrawn_at__isnull=True).update(
                withdrawn_at=Now(), withdrawn_by=_person(user), note=note.strip()[:500]
            )
            if not changed:
                raise _not_published(image)
            # Read again: the receipt may have been laid on another predecessor while we waited for the lock.
            publication.refresh_from_db()
            outcome = catalogue.withdraw(publication.object_pk, publication.receipt)
            _rebase(catalogue, publication)
            Publication.objects.filter(pk=publication.pk).update(withdraw_outcome=outcome.value)
            ProductImage.objects.filter(pk=image.pk, state=ImageState.PUBLISHED).update(
                state=ImageState.WITHDRAWN, published_at=None, updated_at=Now()
            )
            _announce(image_withdrawn, image=image, publication=publication, outcome=outcome, user=user)
    finally:
        image.refresh_from_db()
    publication.refresh_from_db()
    return publication


def _need(user: Any, permission: str, message: str) -> None:
    if user is not None and not user.has_perm(f"shopgen.{permission}"):
        raise NotAllowed(message)


def _person(user: Any) -> Any:
    return user if getattr(user, "pk", None) else None


def _refuse_unpublishable(image: ProductImage) -> None:
    if image.state != ImageState.APPROVED:
        raise _not_approved(image)
    if shows_person(image):
        raise PublishError(
            _("The picture shows a person, or was made from one that does; such pictures are never published."),
            code="personal_picture",
        )
    if not image.catalogue or not image.object_pk:
        raise PublishError(
            _("The picture belongs to no product. Assign it to one, then publish it."), code="no_product"
        )
    if image.product_deleted_at is not None:
        raise _deleted(image)


def _not_approved(image: ProductImage) -> InvalidState:
    return InvalidState(
        _("The picture is %(state)s; only approved pictures can be published.") % {"state": image.get_state_display()}
    )


def _not_published(image: ProductImage) -> InvalidState:
    return InvalidState(
        _("The picture is %(state)s; only published pictures can be taken back.") % {"state": image.get_state_display()}
    )


def _deleted(image: ProductImage) -> ProductNotFound:
    return ProductNotFound(
        _("The product %(product)s has been deleted from the shop; there is nothing to publish the picture to.")
        % {"product": image.product_label or image.object_pk},
        code="product_deleted",
    )


def catalogue_of(alias: str) -> Catalogue:
    """The catalogue of a row. Raises PublishError when its settings are broken."""
    try:
        return get_catalogue(alias)
    except ImproperlyConfigured as error:
        raise PublishError(
            _("The catalogue %(alias)s can't be used: %(why)s") % {"alias": alias, "why": error},
            code="catalogue_unavailable",
        ) from error


@contextmanager
def transactions(catalogue: Catalogue) -> Iterator[None]:
    """One transaction over our rows and the shop's (two nested ones where a router keeps them in two databases)."""
    with transaction.atomic(using=router.db_for_write(ProductImage)), transaction.atomic(using=catalogue.database):
        yield


@contextmanager
def shop_errors(what: Any) -> Iterator[None]:
    """Whatever the shop's own code raises (its models, its signal receivers) becomes one error with a stable code."""
    try:
        yield
    except ShopgenError:
        raise
    except Exception as error:
        logger.exception("The shop's catalogue failed with %s", what.pk)
        raise PublishError(
            _("The shop did not take the change (%(kind)s). Nothing was changed; the log has the details.")
            % {"kind": type(error).__name__}
        ) from error


def _to_published(image: ProductImage) -> None:
    """approved -> published, decided by the row count. Raises InvalidState or ProductNotFound."""
    changed = ProductImage.objects.filter(
        pk=image.pk, state=ImageState.APPROVED, personal=False, product_deleted_at__isnull=True
    ).update(state=ImageState.PUBLISHED, published_at=Now(), updated_at=Now())
    if changed:
        return
    reload_image(image)
    if image.product_deleted_at is not None:
        raise _deleted(image)
    raise _not_approved(image)


def _record(image: ProductImage, receipt: Receipt, placement: str, user: Any) -> Publication:
    try:
        return Publication.objects.create(
            image=image,
            catalogue=image.catalogue,
            object_pk=image.object_pk,
            placement=placement,
            receipt=receipt,
            published_by=_person(user),
        )
    except IntegrityError as error:
        raise InvalidState(_("The picture already stands in the shop.")) from error


def _rebase(catalogue: Catalogue, withdrawn: Publication) -> None:
    """Publications that were laid on the withdrawn one now lie on what it had been laid on."""
    others = Publication.objects.filter(
        catalogue=withdrawn.catalogue, object_pk=withdrawn.object_pk, withdrawn_at__isnull=True
    )
    for other in others:
        receipt = catalogue.rebase(other.receipt, withdrawn.receipt)
        if receipt is not None:
            Publication.objects.filter(pk=other.pk).update(receipt=receipt)


def _filename(image: ProductImage) -> str:
    """Readable, and of its own for each picture: no storage, not even one that overwrites, loses another's file."""
    words = slugify(image.product_label)[:40].strip("-") or "picture"
    return f"{words}-{image.pk.hex[:8]}-{image.sha256[:8]}.{EXTENSIONS[image.format]}"


def _announce(signal: Any, **arguments: Any) -> None:
    send = partial(signal.send_robust, sender=ProductImage, **arguments)
    transaction.on_commit(send, using=router.db_for_write(ProductImage))


def _discard(catalogue: Catalogue, receipt: Receipt) -> None:
    try:
        catalogue.discard(receipt)
    except Exception:
        # The first error is the one to tell; a file left over in the shop's storage is only untidy.
        logger.exception("A file of a rolled back publication could not be removed: %s", receipt)
